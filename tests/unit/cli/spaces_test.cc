#include "cli/spaces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ashlar::cli {
namespace {

using control::SpaceState;
using testing::HasSubstr;
using testing::Not;

struct Lists {
  config::Node p1{.id = "p1", .role = config::NodeRole::kPnode}, m1{.id = "m1", .role = config::NodeRole::kMnode},
      m2{.id = "m2", .role = config::NodeRole::kMnode}, s1{.id = "s1", .role = config::NodeRole::kSnode},
      s2{.id = "s2", .role = config::NodeRole::kSnode};
  control::SpaceList pnode{.homed = {{.space = SpaceId(0x11), .epoch = Epoch(3), .home = "m2", .state = SpaceState::kRefilling, .extents = 9,
                                      .extents_to_refill = 8, .extents_refilled = 5, .since_left = absl::Seconds(2)},
                                     {.space = SpaceId(0x12), .epoch = Epoch(1), .home = "m2", .state = SpaceState::kServed, .extents = 1}},
                           .kept = {}};
  control::SpaceList mnode{.homed = {}, .kept = {{.space = SpaceId(0x11), .snode = "s1", .current = false, .live_bytes = 8 << 20, .behind_bytes = 1 << 20},
                                                 {.space = SpaceId(0x12), .snode = "s1", .current = true, .live_bytes = 4 << 20}}};
  SpaceLists all() const { return {{&p1, pnode}, {&m1, absl::UnavailableError("away")}, {&m2, mnode}}; }
};

TEST(Spaces, ARowSaysWhereASpaceLivesAndHowSafeItIs) {
  const std::string table = RenderSpaces(Lists().all());
  EXPECT_THAT(table, HasSubstr("0000000000000011"));
  EXPECT_THAT(table, HasSubstr("refilling"));
  EXPECT_THAT(table, HasSubstr("degraded"));
  EXPECT_EQ(RenderSpaces({}), "no spaces\n");
}

TEST(Spaces, RecoveryNamesOnlyWhatIsOnItsWay) {
  Lists lists;
  EXPECT_THAT(RenderRecovery(lists.all()), HasSubstr("refilling at m2, 5 of 8 extents"));
  EXPECT_THAT(RenderRecovery(lists.all()), Not(HasSubstr("12 on p1")));
  lists.pnode.homed[0].state = SpaceState::kServed;
  EXPECT_EQ(RenderRecovery(lists.all()), "");
}

TEST(Spaces, ANodeIsNeededUntilItsSpacesAreWholeElsewhere) {
  Lists lists;
  EXPECT_EQ(SpacesOn(lists.all(), lists.m2), 2u);
  EXPECT_EQ(SpacesOn(lists.all(), lists.m1), 1u) << "its pages are still on their way";
  EXPECT_EQ(SpacesOn(lists.all(), lists.s1), 2u);
  EXPECT_EQ(SpacesOn(lists.all(), lists.s2), 1u);
  lists.pnode.homed[0].state = SpaceState::kServed;
  lists.mnode.kept[0].current = true;
  EXPECT_EQ(SpacesOn(lists.all(), lists.m1), 0u);
  EXPECT_EQ(SpacesOn(lists.all(), lists.s2), 0u);
}

}  // namespace
}  // namespace ashlar::cli
