#include "daemons/pnode/supervisor/slot_table.h"

#include <vector>

#include <gtest/gtest.h>

namespace ashlar::pnode {
namespace {

class SlotTableTest : public testing::Test {
 protected:
  std::vector<std::uint32_t> Walk() {
    std::vector<std::uint32_t> seen;
    ForEachThread(table_, 0, [&](std::uint32_t slot) { seen.push_back(slot); });
    return seen;
  }
  std::vector<strace_info> slots_ = std::vector<strace_info>(4);
  std::vector<process_info> processes_ = std::vector<process_info>(1);
  SlotTable table_{slots_, processes_};
};

TEST_F(SlotTableTest, AnEmptyChain) { EXPECT_TRUE(Walk().empty()); }

TEST_F(SlotTableTest, AChainThatLeadsOutsideEndsThere) {
  processes_[0].head = 2;
  slots_[1].next = 77;
  EXPECT_EQ(Walk(), std::vector<std::uint32_t>{1});
}

TEST_F(SlotTableTest, ACircleEnds) {
  processes_[0].head = 1;
  slots_[0].next = 2;
  slots_[1].next = 1;
  EXPECT_EQ(Walk().size(), slots_.size());
  slots_[1].state = kSlotDead;
  UnlinkDead(table_, 0, [](std::uint32_t) {});  // ends, too
}

TEST_F(SlotTableTest, ADeadHeadStaysUntilAllGo) {
  processes_[0].head = 3;
  slots_[2].next = 2;
  slots_[1].next = 1;
  slots_[2].state = slots_[0].state = kSlotDead;
  slots_[1].state = kSlotLive;
  std::vector<std::uint32_t> folded;
  EXPECT_EQ(UnlinkDead(table_, 0, [&](std::uint32_t slot) { folded.push_back(slot); }), 1u);
  EXPECT_EQ(folded, std::vector<std::uint32_t>{0});
  EXPECT_EQ(Walk(), (std::vector<std::uint32_t>{2, 1}));
  EXPECT_EQ(UnlinkAll(table_, 0, [](std::uint32_t) {}), 2u);
  EXPECT_TRUE(Walk().empty());
}

TEST_F(SlotTableTest, AClearedSlotKeepsOnlyItsGeneration) {
  strace_info& slot = slots_[0];
  slot.tid = 5;
  slot.generation = 9;
  slot.index[3] = 1;
  slot.entry_count = 1;
  slot.entries[0].calls = 4;
  ClearSlot(slot);
  EXPECT_EQ(slot.generation, 9u);
  EXPECT_EQ(slot.tid + slot.index[3] + slot.entry_count + slot.entries[0].calls, 0u);
}

}  // namespace
}  // namespace ashlar::pnode
