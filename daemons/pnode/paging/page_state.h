// The life of one page of a space, as pure functions. 10-paging §8; every pair is walked in page_state_test.cc.
//
// nullopt means "must not happen": someone else wrote the program's pages or we lost track of them. The caller kills that
// program with a reason and lives on; it never guesses, because a guess is a wrong byte.
#pragma once

#include <cstdint>
#include <optional>

namespace ashlar::pnode {

enum class PageState : std::uint8_t {
  kZero,      // never written back and not here: reads as zeros
  kResident,  // in the program
  kEvicting,  // in a MOVE batch; where the bytes are is known when the helper answers
  kStaged,    // the only copy is in a victim slot, not acknowledged (a forked child: in a held buffer)
  kFetching,  // a fetch is under way, or its bytes wait in our buffer
  kRemote,    // the remote copy of `version` is current; a clean slot may still hold it too
};
constexpr int kPageStateCount = 6;

enum class PageEvent : std::uint8_t {
  kFilled,        // COPY or ZEROPAGE put the page into the program
  kFoundPresent,  // COPY answered EEXIST
  kFetchPosted,   // wanted, or prefetched
  kFetchDropped,  // the fetch failed, or its bytes were not wanted any more
  kChosen,        // put into a MOVE batch
  kMovedZero,     // moved out: all zero, and nothing of it was ever sent
  kMovedClean,    // moved out: the same bytes as the acknowledged version
  kMovedToSlot,   // moved out: these bytes are not acknowledged yet
  kMoveRefused,   // EBUSY, EAGAIN, EINVAL: still in the program
  kMoveFoundHole, // ENOENT: the program had dropped it
  kAcked,         // the write-back of exactly the entry's version is kept
  kDropped,       // REMOVE or UNMAP was read
  kSeenPresent,   // the adoption scan saw it in the program
  kHeld,          // a forked child's remote page: we keep the bytes, because the home is about to lose that version
};
constexpr int kPageEventCount = 14;

constexpr std::optional<PageState> Next(PageState state, PageEvent event) {
  using enum PageState;
  using enum PageEvent;
  switch (event) {
    case kFilled:
      if (state == kEvicting) return std::nullopt;  // a fault waits for the helper's answer
      return kResident;                              // kResident: the program had dropped it and faulted before we knew
    case kFoundPresent:
      if (state == kResident) return kResident;  // two threads faulted on it
      if (state == kZero) return kZero;          // a REMOVE was read whose zap is still to come: not ours yet (§7)
      return std::nullopt;
    case kFetchPosted:
      if (state == kRemote) return kFetching;
      return std::nullopt;
    case kFetchDropped:
      if (state == kFetching) return kRemote;
      return std::nullopt;
    case kChosen:
      if (state == kResident) return kEvicting;
      return std::nullopt;
    case kMovedZero:
    case kMoveFoundHole:
      if (state == kEvicting) return kZero;
      return std::nullopt;
    case kMovedClean:
      if (state == kEvicting) return kRemote;
      return std::nullopt;
    case kMovedToSlot:
      if (state == kEvicting) return kStaged;
      return std::nullopt;
    case kMoveRefused:
      if (state == kEvicting) return kResident;
      return std::nullopt;
    case kAcked:
      if (state == kStaged) return kRemote;
      return state;  // the page moved on; only its slot cares
    case kDropped:
      if (state == kEvicting) return std::nullopt;  // the drain rule: no event is read while a batch is open
      return kZero;
    case kSeenPresent:
      if (state == kZero || state == kResident) return kResident;
      return std::nullopt;
    case kHeld:
      if (state == kRemote) return kStaged;
      return std::nullopt;
  }
  return std::nullopt;
}

// What a fault on a page in this state asks for.
enum class FaultAction : std::uint8_t {
  kFillZero,   // kZero; and kResident, where COPY tells a duplicate fault (EEXIST) from a page dropped meanwhile
  kPark,       // wait for the helper's answer
  kFillBytes,  // from the slot
  kJoin,       // the fetch under way will wake it
  kFetch,      // from a clean slot, else from the home
};

constexpr FaultAction OnFault(PageState state) {
  switch (state) {
    case PageState::kZero:
    case PageState::kResident: return FaultAction::kFillZero;
    case PageState::kEvicting: return FaultAction::kPark;
    case PageState::kStaged: return FaultAction::kFillBytes;
    case PageState::kFetching: return FaultAction::kJoin;
    case PageState::kRemote: return FaultAction::kFetch;
  }
  return FaultAction::kPark;
}

// The state of a forked child's copy of the page. nullopt: FORK was read with a batch open, which the drain rule forbids.
constexpr std::optional<PageState> ForkedState(PageState parent) {
  switch (parent) {
    case PageState::kEvicting: return std::nullopt;
    case PageState::kFetching: return PageState::kRemote;  // the fetch is the parent's
    case PageState::kZero:
    case PageState::kResident:  // the kernel shares it copy-on-write
    case PageState::kStaged:    // the child gets a copy of the bytes
    case PageState::kRemote: return parent;
  }
  return std::nullopt;
}

constexpr const char* Name(PageState state) {
  constexpr const char* kNames[] = {"zero", "resident", "evicting", "staged", "fetching", "remote"};
  return kNames[static_cast<int>(state)];
}
constexpr const char* Name(PageEvent event) {
  constexpr const char* kNames[] = {"filled",     "found-present", "fetch-posted",  "fetch-dropped",   "chosen", "moved-zero",
                                    "moved-clean", "moved-to-slot", "move-refused", "move-found-hole", "acked",  "dropped",
                                    "seen-present", "held"};
  return kNames[static_cast<int>(event)];
}

}  // namespace ashlar::pnode
