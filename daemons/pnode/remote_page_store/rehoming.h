// Where a space stands between two homes, and what happens next. Pure: RemotePageStore does the steps.
//
// A space's first home, the next one after a lost memory node, after a drained one, and after the next one was lost as
// well are the same way: (fence →) seek → open → refill → served. What is acknowledged can be read from the storage
// nodes at every moment after the fence.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace ashlar::pnode {

enum class RehomeState : std::uint8_t {
  kFencing,    // no home; a higher epoch is being made durable at the storage nodes. Nothing is read or written
  kSeeking,    // no home, none is reachable or willing; pages are read from the storage nodes, write-backs wait
  kOpening,    // a home was chosen, it was not heard of yet; as kSeeking
  kRefilling,  // the home takes write-backs; extents it has not proved whole are read from the storage nodes
  kServed,     // everything is read one-sided from the home
};

enum class RehomeEvent : std::uint8_t {
  kFenced,      // one storage node that keeps the space has the new epoch on its disk, or none keeps anything
  kHomeChosen,
  kOpened,      // the home knows the space under this epoch
  kAllProved,   // every extent with acknowledged pages was compared with what the pnode knows
  kHomeLeft,    // lost, restarted, drained
};

// nullopt: that event cannot happen in that state (a bug of the caller).
constexpr std::optional<RehomeState> Next(RehomeState state, RehomeEvent event) {
  using enum RehomeState;
  switch (event) {
    case RehomeEvent::kFenced: return state == kFencing ? std::optional(kSeeking) : std::nullopt;
    case RehomeEvent::kHomeChosen: return state == kSeeking ? std::optional(kOpening) : std::nullopt;
    case RehomeEvent::kOpened: return state == kOpening ? std::optional(kRefilling) : std::nullopt;
    case RehomeEvent::kAllProved: return state == kRefilling ? std::optional(kServed) : std::nullopt;
    case RehomeEvent::kHomeLeft:  // a home that was only chosen may have opened the space: it needs a fence as well
      return state == kOpening || state == kRefilling || state == kServed ? std::optional(kFencing) : std::nullopt;
  }
  return std::nullopt;
}

constexpr bool HasHome(RehomeState state) { return state != RehomeState::kFencing && state != RehomeState::kSeeking; }

constexpr std::string_view Name(RehomeState state) {
  switch (state) {
    case RehomeState::kFencing: return "fencing";
    case RehomeState::kSeeking: return "no-home";
    case RehomeState::kOpening: return "opening";
    case RehomeState::kRefilling: return "refilling";
    case RehomeState::kServed: return "served";
  }
  return "";
}

}  // namespace ashlar::pnode
