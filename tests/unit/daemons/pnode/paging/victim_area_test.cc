#include "daemons/pnode/paging/victim_area.h"

#include <map>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

class VictimAreaTest : public testing::Test {
 protected:
  VictimArea::Content Content(std::uint64_t page, std::uint64_t version) { return {PageNumber(page), Version(version), {version, page}, false}; }
  std::uint32_t Dirty(std::uint64_t page, std::uint64_t version) {
    std::uint32_t slot = area_.Take();
    area_.MakeDirty(slot, Content(page, version), 0);
    return slot;
  }
  std::vector<std::byte> bytes_ = std::vector<std::byte>(8 * kPageBytes);
  VictimArea area_{bytes_};
};

TEST_F(VictimAreaTest, ASlotGoesItsWayAndBack) {
  std::uint32_t slot = Dirty(7, 1);
  EXPECT_EQ(area_.Oldest(SlotState::kDirty), slot);
  area_.MakeSending(slot);
  area_.OnSent(slot, true);
  EXPECT_EQ(area_.slot(slot).state, SlotState::kClean);
  EXPECT_EQ(area_.Find(PageNumber(7)), slot);
  area_.Forget(PageNumber(7));
  EXPECT_EQ(area_.slot(slot).state, SlotState::kFree);
  EXPECT_EQ(area_.Find(PageNumber(7)), VictimArea::kNone);
}

TEST_F(VictimAreaTest, ANewerContentSupersedesAnUnsentOne) {
  std::uint32_t old_slot = Dirty(7, 1);
  std::uint32_t new_slot = Dirty(7, 2);
  EXPECT_EQ(area_.slot(old_slot).state, SlotState::kFree);
  EXPECT_EQ(area_.Find(PageNumber(7)), new_slot);
  EXPECT_FALSE(area_.HasOrphan(PageNumber(7)));
}

TEST_F(VictimAreaTest, ASlotUnderWayIsNotFilledBeforeItsCallEnds) {
  std::uint32_t old_slot = Dirty(7, 1);
  area_.MakeSending(old_slot);
  std::uint32_t new_slot = Dirty(7, 2);
  EXPECT_EQ(area_.slot(old_slot).state, SlotState::kOrphan);
  EXPECT_TRUE(area_.HasOrphan(PageNumber(7)));
  area_.SetBlocked(new_slot, true);
  EXPECT_EQ(area_.Oldest(SlotState::kDirty), VictimArea::kNone);
  for (std::uint32_t taken = area_.Take(); taken != VictimArea::kNone; taken = area_.Take()) EXPECT_NE(taken, old_slot);
  area_.OnSent(old_slot, false);
  EXPECT_EQ(area_.slot(old_slot).state, SlotState::kFree);
  area_.SetBlocked(new_slot, false);
  EXPECT_EQ(area_.Oldest(SlotState::kDirty), new_slot);
}

TEST_F(VictimAreaTest, WhatWasNotKeptIsFirstInLine) {
  std::uint32_t first = Dirty(1, 1);
  area_.MakeSending(first);
  Dirty(2, 1);
  area_.OnSent(first, false);
  EXPECT_EQ(area_.Oldest(SlotState::kDirty), first);
  EXPECT_EQ(area_.Find(PageNumber(1)), first);
}

TEST_F(VictimAreaTest, CleanSlotsAreTakenOldestFirstWhenNoneIsFree) {
  std::vector<std::uint32_t> slots;
  for (std::uint64_t page = 0; page < 8; ++page) {
    std::uint32_t slot = area_.Take();
    area_.MakeClean(slot, Content(page, 1));
    slots.push_back(slot);
  }
  EXPECT_EQ(area_.Available(), 8u);
  EXPECT_EQ(area_.Take(), slots[0]);
  EXPECT_EQ(area_.Find(PageNumber(0)), VictimArea::kNone);
  EXPECT_EQ(area_.Find(PageNumber(1)), slots[1]);
}

TEST_F(VictimAreaTest, ABlockedSlotCanBeForgotten) {
  std::uint32_t slot = Dirty(3, 1);
  area_.SetBlocked(slot, true);
  area_.Forget(PageNumber(3));
  EXPECT_EQ(area_.slot(slot).state, SlotState::kFree);
  EXPECT_FALSE(area_.slot(slot).blocked);
  EXPECT_EQ(area_.Available(), 8u);
}

TEST_F(VictimAreaTest, CountsAndListsAgreeWhateverHappens) {
  std::mt19937 random(3);
  auto below = [&](unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(random); };
  std::uint64_t version = 0;
  for (int step = 0; step < 20000; ++step) {
    switch (below(5)) {
      case 0:
      case 1: {
        std::uint32_t slot = area_.Take();
        if (slot == VictimArea::kNone) break;
        std::uint64_t page = below(6);
        if (below(4) == 0) {
          area_.Return(slot);
        } else if (below(3) == 0) {
          area_.MakeClean(slot, Content(page, ++version));
        } else {
          area_.MakeDirty(slot, Content(page, ++version), 0);
          if (area_.HasOrphan(PageNumber(page))) area_.SetBlocked(slot, true);
        }
        break;
      }
      case 2:
        if (area_.Oldest(SlotState::kDirty) != VictimArea::kNone) area_.MakeSending(area_.Oldest(SlotState::kDirty));
        break;
      case 3: {
        SlotState from = below(2) == 0 ? SlotState::kSending : SlotState::kOrphan;
        std::uint32_t slot = area_.Oldest(from);
        if (slot == VictimArea::kNone) break;
        PageNumber page = area_.slot(slot).page;
        area_.OnSent(slot, below(3) != 0);
        std::uint32_t newest = area_.Find(page);
        if (newest != VictimArea::kNone && area_.slot(newest).blocked && !area_.HasOrphan(page)) area_.SetBlocked(newest, false);
        break;
      }
      default: area_.Forget(PageNumber(below(6))); break;
    }
    std::map<SlotState, std::uint32_t> listed, counted;
    std::uint32_t blocked = 0;
    for (std::uint32_t i = 0; i < area_.slot_count(); ++i) {
      ++counted[area_.slot(i).state];
      blocked += area_.slot(i).blocked ? 1 : 0;
    }
    for (int state = 0; state < kSlotStateCount; ++state) {
      auto named = static_cast<SlotState>(state);
      for (std::uint32_t i = area_.Oldest(named); i != VictimArea::kNone; i = area_.NextOf(i)) ++listed[named];
      if (named == SlotState::kDirty) listed[named] += blocked;
      ASSERT_EQ(listed[named], counted[named]) << step;
      ASSERT_EQ(area_.count(named), counted[named]) << step;
    }
  }
}

}  // namespace
}  // namespace ashlar::pnode
