// How full the log is, by what must be kept. Dead versions do not count: the cleaner takes them away.
#pragma once

#include <cstdint>
#include <string_view>

namespace ashlar::snode {

enum class CapacityState { kOk, kNearFull, kFull };

constexpr std::string_view CapacityWord(CapacityState state) {
  switch (state) {
    case CapacityState::kOk:
      return "OK";
    case CapacityState::kNearFull:
      return "NEARFULL";
    case CapacityState::kFull:
      return "FULL";
  }
  return "?";
}

// `kept_bytes`: live data plus what waits to be written; `usable_bytes`: all segments but those reserved for the
// cleaner.
constexpr CapacityState JudgeCapacity(std::uint64_t kept_bytes, std::uint64_t usable_bytes) {
  if (kept_bytes / 9 > usable_bytes / 10) return CapacityState::kFull;
  return kept_bytes / 3 >= usable_bytes / 4 ? CapacityState::kNearFull : CapacityState::kOk;
}

}  // namespace ashlar::snode
