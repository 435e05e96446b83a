// What to do next for one space at its snode: wanted (every live frame durable there, every trim and the end known there)
// against actual (what the snode confirmed). Pure: the replicator does the step, stores the result and asks again, so the
// first replication, the one after a restart and the thirtieth repair are the same code.
#pragma once

#include <cstdint>
#include <optional>

namespace ashlar::mnode {

enum class SlotState : std::uint8_t {
  kEmpty,    // the snode was not asked to open the space, or it may have forgotten
  kOpening,  // OpenSpace is under way
  kCopying,  // open; frames may be behind
  kCurrent,  // open, no frame behind
  kSuspect,  // was open; the link is down
  kFenced,   // a higher epoch is in force there: another home took over. Nothing is sent until this home has a higher one
};

enum class SlotEvent : std::uint8_t {
  kOpenSent,
  kOpened,
  kOpenFailed,
  kCaughtUp,      // no frame behind
  kFellBehind,    // a frame behind
  kEpochRaised,   // the space came back to this home, or stayed, under a higher epoch
  kForgotten,     // the snode answered that it does not know the space
  kFenced,        // it answered kStaleEpoch
  kLinkDown,
  kLinkUpSame,    // the same incarnation: what it confirmed holds
  kLinkUpNew,     // a restarted snode: durable pages are durable, the rest is open again
};

// nullopt: that event cannot happen in that state (a bug of the caller).
constexpr std::optional<SlotState> Next(SlotState state, SlotEvent event) {
  using enum SlotState;
  if (event == SlotEvent::kEpochRaised) return kEmpty;
  if (state == kFenced) return kFenced;
  switch (event) {
    case SlotEvent::kOpenSent: return state == kEmpty ? std::optional(kOpening) : std::nullopt;
    case SlotEvent::kOpened: return state == kOpening ? std::optional(kCopying) : state;  // else: link lost meanwhile
    case SlotEvent::kOpenFailed: return state == kOpening ? kEmpty : state;
    case SlotEvent::kCaughtUp: return state == kCopying ? kCurrent : state;
    case SlotEvent::kFellBehind: return state == kCurrent ? kCopying : state;
    case SlotEvent::kEpochRaised:
    case SlotEvent::kForgotten: return kEmpty;
    case SlotEvent::kFenced: return kFenced;
    case SlotEvent::kLinkDown: return state == kCopying || state == kCurrent ? kSuspect : state;
    case SlotEvent::kLinkUpSame: return state == kSuspect ? kCopying : state;
    case SlotEvent::kLinkUpNew: return state == kOpening ? kOpening : kEmpty;  // an OpenSpace under way is resent by FIT
  }
  return std::nullopt;
}

struct SlotFacts {
  SlotState state = SlotState::kEmpty;
  bool link_up = false;
  bool control_busy = false;   // an OpenSpace, Trim or DestroySpace of this space is under way
  bool ending = false;         // the space ended: the snode shall know
  bool leaving = false;        // this home lets go of the space, the snode keeps it
  bool trims_pending = false;  // at least one
  bool trim_ready = false;     // no append given before the first pending trim is still under way
  bool batch_waiting = false;  // a write-back's pages wait to be sent
  bool behind_idle = false;    // pages that the snode lacks and no append carries
  bool append_room = false;    // one more append may be under way on this link
  bool catch_up_room = false;  // one more of those that only catch up, and a buffer for it
  bool appends_under_way = false;
  std::uint64_t retry_at_ns = 0;  // after a failure: not before
  std::uint64_t now_ns = 0;
};

enum class Step : std::uint8_t { kWait, kWaitForRetry, kOpenSpace, kSendTrims, kSendBatch, kCatchUp, kEndSpace, kRelease };

// Write-backs go before catching up: a pnode waits for them. Trims go before both: they free the disk.
constexpr Step NextStep(const SlotFacts& facts) {
  const bool quiet = !facts.control_busy && !facts.appends_under_way;
  if (facts.leaving && !facts.ending) return quiet ? Step::kRelease : Step::kWait;
  if (!facts.link_up) return Step::kWait;
  const bool may_retry = facts.now_ns >= facts.retry_at_ns;
  if (facts.ending) {
    if (!quiet) return Step::kWait;
    return may_retry ? Step::kEndSpace : Step::kWaitForRetry;
  }
  switch (facts.state) {
    case SlotState::kEmpty:
      if (facts.control_busy) return Step::kWait;
      return may_retry ? Step::kOpenSpace : Step::kWaitForRetry;
    case SlotState::kOpening:
    case SlotState::kSuspect:
    case SlotState::kFenced:
      return Step::kWait;
    case SlotState::kCopying:
    case SlotState::kCurrent:
      break;
  }
  if (facts.trims_pending && facts.trim_ready && !facts.control_busy && may_retry) return Step::kSendTrims;
  if (facts.batch_waiting && facts.append_room) return Step::kSendBatch;
  if (facts.behind_idle && !facts.batch_waiting && facts.append_room && facts.catch_up_room && may_retry) return Step::kCatchUp;
  const bool held_by_clock = !may_retry && ((facts.trims_pending && !facts.control_busy) || facts.behind_idle);
  return held_by_clock ? Step::kWaitForRetry : Step::kWait;
}

}  // namespace ashlar::mnode
