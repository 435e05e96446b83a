#include "daemons/mnode/replication/slot.h"

#include <initializer_list>

#include <gtest/gtest.h>

namespace ashlar::mnode {
namespace {

constexpr std::initializer_list<SlotState> kStates = {SlotState::kEmpty,   SlotState::kOpening, SlotState::kCopying,
                                                      SlotState::kCurrent, SlotState::kSuspect, SlotState::kFenced};
constexpr std::initializer_list<SlotEvent> kEvents = {
    SlotEvent::kOpenSent,  SlotEvent::kOpened, SlotEvent::kOpenFailed, SlotEvent::kCaughtUp,   SlotEvent::kFellBehind,
    SlotEvent::kForgotten, SlotEvent::kFenced, SlotEvent::kLinkDown,   SlotEvent::kLinkUpSame, SlotEvent::kLinkUpNew,
    SlotEvent::kEpochRaised};

// The table of the design, written a second time event by event.
TEST(Slot, EveryStateAndEvent) {
  const auto expected = [](SlotState s, SlotEvent e) -> std::optional<SlotState> {
    using S = SlotState;
    using E = SlotEvent;
    if (e == E::kEpochRaised) return S::kEmpty;
    if (s == S::kFenced || e == E::kFenced) return S::kFenced;
    if (e == E::kForgotten) return S::kEmpty;
    const bool open = s == S::kCopying || s == S::kCurrent;
    if (e == E::kOpenSent) return s == S::kEmpty ? std::optional(S::kOpening) : std::nullopt;
    if (e == E::kLinkUpNew) return s == S::kOpening ? S::kOpening : S::kEmpty;
    if (e == E::kLinkDown && open) return S::kSuspect;
    if (e == E::kLinkUpSame && s == S::kSuspect) return S::kCopying;
    if (e == E::kOpened && s == S::kOpening) return S::kCopying;
    if (e == E::kOpenFailed && s == S::kOpening) return S::kEmpty;
    if (e == E::kCaughtUp && s == S::kCopying) return S::kCurrent;
    if (e == E::kFellBehind && s == S::kCurrent) return S::kCopying;
    return s;
  };
  for (SlotState state : kStates)
    for (SlotEvent event : kEvents)
      EXPECT_EQ(Next(state, event), expected(state, event)) << int(state) << " " << int(event);
}

// All facts, walked whole: what no step may ever do.
TEST(NextStep, NoFactsBreakTheRules) {
  int steps[8] = {};
  for (SlotState state : kStates) {
    for (unsigned bits = 0; bits < (1u << 12); ++bits) {
      const SlotFacts f{.state = state, .link_up = (bits & 1) != 0, .control_busy = (bits & 2) != 0,
                        .ending = (bits & 4) != 0, .leaving = (bits & 8) != 0, .trims_pending = (bits & 16) != 0,
                        .trim_ready = (bits & 32) != 0, .batch_waiting = (bits & 64) != 0, .behind_idle = (bits & 128) != 0,
                        .append_room = (bits & 256) != 0, .catch_up_room = (bits & 512) != 0,
                        .appends_under_way = (bits & 1024) != 0, .retry_at_ns = (bits & 2048) != 0 ? 20ull : 5ull, .now_ns = 10};
      const Step step = NextStep(f);
      ++steps[static_cast<int>(step)];
      const bool open = state == SlotState::kCopying || state == SlotState::kCurrent;
      const bool append = step == Step::kSendBatch || step == Step::kCatchUp;
      const bool control = step == Step::kOpenSpace || step == Step::kSendTrims || step == Step::kEndSpace;
      if (!f.link_up) { EXPECT_TRUE(step == Step::kWait || step == Step::kRelease); }
      if (append || step == Step::kSendTrims) { EXPECT_TRUE(open && !f.ending && !f.leaving); }
      if (append) { EXPECT_TRUE(f.append_room); }
      if (control) { EXPECT_FALSE(f.control_busy) << "one control call at a time"; }
      if (step == Step::kSendTrims) { EXPECT_TRUE(f.trim_ready && f.trims_pending) << "a trim stays behind earlier appends"; }
      if (step == Step::kEndSpace || step == Step::kRelease) { EXPECT_FALSE(f.appends_under_way || f.control_busy); }
      if (step == Step::kCatchUp) { EXPECT_FALSE(f.batch_waiting) << "write-backs go first"; }
      if (step == Step::kOpenSpace) { EXPECT_EQ(state, SlotState::kEmpty); }
      if (state == SlotState::kFenced && !f.ending && !f.leaving) { EXPECT_EQ(step, Step::kWait); }
      if (f.retry_at_ns > f.now_ns && step != Step::kSendBatch && step != Step::kRelease) {
        EXPECT_TRUE(step == Step::kWait || step == Step::kWaitForRetry) << "only fresh write-backs go before the retry time";
      }
    }
  }
  for (Step step : {Step::kWait, Step::kWaitForRetry, Step::kOpenSpace, Step::kSendTrims, Step::kSendBatch, Step::kCatchUp,
                    Step::kEndSpace, Step::kRelease})
    EXPECT_GT(steps[static_cast<int>(step)], 0) << int(step);
}

}  // namespace
}  // namespace ashlar::mnode
