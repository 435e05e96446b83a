#include "daemons/pnode/remote_page_store/rehoming.h"

#include <set>

#include <gtest/gtest.h>

namespace ashlar::pnode {
namespace {

using enum RehomeState;
using enum RehomeEvent;
constexpr RehomeState kStates[] = {kFencing, kSeeking, kOpening, kRefilling, kServed};
constexpr RehomeEvent kEvents[] = {kFenced, kHomeChosen, kOpened, kAllProved, kHomeLeft};

TEST(Rehoming, EveryPair) {
  using Row = std::optional<RehomeState>;
  const Row none = std::nullopt;
  const Row wanted[5][5] = {
      // fenced   chosen    opened      proved   left
      {kSeeking, none, none, none, none},           // fencing
      {none, kOpening, none, none, none},           // seeking
      {none, none, kRefilling, none, kFencing},     // opening
      {none, none, none, kServed, kFencing},        // refilling
      {none, none, none, none, kFencing},           // served
  };
  for (std::size_t s = 0; s < 5; ++s)
    for (std::size_t e = 0; e < 5; ++e) EXPECT_EQ(Next(kStates[s], kEvents[e]), wanted[s][e]) << Name(kStates[s]) << " " << e;
}

// A home is never taken for one before the space was fenced.
TEST(Rehoming, WhoLeftAHomeFencesBeforeTheNextOne) {
  for (RehomeState from : kStates) {
    const auto left = Next(from, kHomeLeft);
    if (!left) continue;
    EXPECT_EQ(*left, kFencing);
    for (RehomeEvent event : kEvents) EXPECT_FALSE(event != kFenced && Next(*left, event)) << static_cast<int>(event);
  }
}

TEST(Rehoming, OnlyAStateWithAHomeCanLeaveIt) {
  for (RehomeState state : kStates) EXPECT_EQ(Next(state, kHomeLeft).has_value(), HasHome(state)) << Name(state);
}

}  // namespace
}  // namespace ashlar::pnode
