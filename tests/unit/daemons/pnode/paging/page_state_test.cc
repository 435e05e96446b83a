#include "daemons/pnode/paging/page_state.h"

#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

// The whole table, a row per event, a column per state: the next state's letter, '-' = must not happen.
// Columns:                       Z R E S F M
constexpr const char* kTable[] = {
    /* kFilled */ "RR-RRR",
    /* kFoundPresent */ "ZR----",
    /* kFetchPosted */ "-----F",
    /* kFetchDropped */ "----M-",
    /* kChosen */ "-E----",
    /* kMovedZero */ "--Z---",
    /* kMovedClean */ "--M---",
    /* kMovedToSlot */ "--S---",
    /* kMoveRefused */ "--R---",
    /* kMoveFoundHole */ "--Z---",
    /* kAcked */ "ZREMFM",
    /* kDropped */ "ZZ-ZZZ",
    /* kSeenPresent */ "RR----",
    /* kHeld */ "-----S",
};
static_assert(std::size(kTable) == kPageEventCount);
constexpr char kLetters[] = "ZRESFM";

TEST(PageState, EveryPairOfStateAndEventIsAsWritten) {
  for (int event = 0; event < kPageEventCount; ++event) {
    for (int state = 0; state < kPageStateCount; ++state) {
      std::optional<PageState> next = Next(static_cast<PageState>(state), static_cast<PageEvent>(event));
      char letter = next.has_value() ? kLetters[static_cast<int>(*next)] : '-';
      EXPECT_EQ(letter, kTable[event][state]) << Name(static_cast<PageEvent>(event)) << " in " << Name(static_cast<PageState>(state));
    }
  }
}

TEST(PageState, OnlyTheAcknowledgementOrTheProgramLetsStagedBytesGo) {
  for (int event = 0; event < kPageEventCount; ++event) {
    std::optional<PageState> next = Next(PageState::kStaged, static_cast<PageEvent>(event));
    auto named = static_cast<PageEvent>(event);
    if (!next.has_value() || *next == PageState::kStaged) continue;
    EXPECT_TRUE(named == PageEvent::kAcked || named == PageEvent::kDropped || named == PageEvent::kFilled) << Name(named);
  }
}

TEST(PageState, NothingDropsAPageWhileItsBatchIsOpen) {
  EXPECT_EQ(Next(PageState::kEvicting, PageEvent::kDropped), std::nullopt);
  EXPECT_EQ(ForkedState(PageState::kEvicting), std::nullopt);
  EXPECT_EQ(OnFault(PageState::kEvicting), FaultAction::kPark);
}

TEST(PageState, AChildNeverInheritsAFetch) {
  EXPECT_EQ(ForkedState(PageState::kFetching), PageState::kRemote);
  for (PageState same : {PageState::kZero, PageState::kResident, PageState::kStaged, PageState::kRemote}) {
    EXPECT_EQ(ForkedState(same), same);
  }
}

TEST(PageState, AFaultIsAnsweredByWhereTheBytesAre) {
  EXPECT_EQ(OnFault(PageState::kZero), FaultAction::kFillZero);
  EXPECT_EQ(OnFault(PageState::kResident), FaultAction::kFillZero);
  EXPECT_EQ(OnFault(PageState::kStaged), FaultAction::kFillBytes);
  EXPECT_EQ(OnFault(PageState::kFetching), FaultAction::kJoin);
  EXPECT_EQ(OnFault(PageState::kRemote), FaultAction::kFetch);
}

}  // namespace
}  // namespace ashlar::pnode
