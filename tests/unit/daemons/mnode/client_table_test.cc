#include "daemons/mnode/client_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ashlar::mnode {
namespace {

using Seen = ClientTable::Seen;
fit::Client Pnode(std::uint64_t incarnation, std::uint16_t shard = 0) { return {NodeId(1), Incarnation(incarnation), shard}; }

TEST(ClientTable, ANewerIncarnationReplacesAndAnOlderIsRefused) {
  ClientTable table;
  EXPECT_EQ(table.Saw(Pnode(10)).seen, Seen::kNew);
  EXPECT_EQ(table.Saw(Pnode(10)).seen, Seen::kKnown);
  const ClientTable::Arrival arrival = table.Saw(Pnode(11));
  EXPECT_EQ(arrival.seen, Seen::kReplacedOlder);
  EXPECT_EQ(arrival.replaced, (SpaceOwner{NodeId(1), Incarnation(10)}));
  EXPECT_EQ(table.Saw(Pnode(10)).seen, Seen::kIsOlder);
  EXPECT_EQ(table.Saw(Pnode(11)).seen, Seen::kKnown);
}

TEST(ClientTable, OnlyOneThatIsAwayWithAllItsShardsForLongIsGone) {
  ClientTable table;
  table.Saw(Pnode(10, 0));
  table.Saw(Pnode(10, 1));
  table.WentAway(Pnode(10, 0), 100);
  EXPECT_FALSE(table.anyone_away());
  table.WentAway(Pnode(10, 1), 200);
  EXPECT_TRUE(table.anyone_away());
  EXPECT_TRUE(table.TakeGone(1199, 1000).empty());
  table.Saw(Pnode(10, 1));  // it came back
  EXPECT_TRUE(table.TakeGone(5000, 1000).empty());
  table.WentAway(Pnode(10, 1), 5000);
  EXPECT_THAT(table.TakeGone(6000, 1000), testing::ElementsAre(SpaceOwner{NodeId(1), Incarnation(10)}));
  EXPECT_FALSE(table.anyone_away());
}

TEST(ClientTable, TheDepartureOfAReplacedIncarnationMeansNothing) {
  ClientTable table;
  table.Saw(Pnode(10));
  table.Saw(Pnode(11));
  table.WentAway(Pnode(10), 100);
  EXPECT_FALSE(table.anyone_away());
}

}  // namespace
}  // namespace ashlar::mnode
