// The small deciders: which pages leave, which come along, which are known.
#include <map>
#include <set>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "daemons/pnode/paging/page_hash.h"
#include "daemons/pnode/paging/page_table.h"
#include "daemons/pnode/paging/proc_maps.h"
#include "daemons/pnode/paging/s3fifo_policy.h"
#include "daemons/pnode/paging/stream_detector.h"
#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

class S3FifoPolicyTest : public testing::Test {
 protected:
  std::uint32_t Add(std::uint64_t page, Arrival arrival = {}) {
    std::uint32_t index = pages_.Add(PageNumber(page));
    index_of_[page] = index;
    policy_.OnResident(index, arrival);
    return index;
  }
  std::set<std::uint64_t> Choose(std::size_t most) {
    std::vector<std::uint32_t> run(most);
    std::size_t count = policy_.ChooseRun(
        [&](PageNumber page) {
          auto it = index_of_.find(page.value());
          return it == index_of_.end() ? ResidentSet::kNone : it->second;
        },
        run);
    std::set<std::uint64_t> chosen;
    for (std::size_t i = 0; i < count; ++i) {
      std::uint64_t page = pages_[run[i]].page.value();
      EXPECT_TRUE(chosen.insert(page).second);
      index_of_.erase(page);
    }
    return chosen;
  }
  ResidentSet pages_;
  S3FifoPolicy policy_{pages_};
  std::map<std::uint64_t, std::uint32_t> index_of_;
};

TEST_F(S3FifoPolicyTest, TakesTheOldestWithItsWindow) {
  for (std::uint64_t page : {32u, 33u, 34u, 100u, 101u, 200u, 201u, 202u}) Add(page);
  EXPECT_EQ(Choose(16), (std::set<std::uint64_t>{32, 33, 34}));
  EXPECT_EQ(Choose(1), (std::set<std::uint64_t>{100}));
}

TEST_F(S3FifoPolicyTest, YoungNeighboursStay) {
  Add(32);
  for (std::uint64_t page = 1000; page < 1100; ++page) Add(page);
  Add(33);
  EXPECT_EQ(Choose(16), (std::set<std::uint64_t>{32}));
}

TEST_F(S3FifoPolicyTest, NeighboursOfAnotherQueueStay) {
  Add(32);
  Add(33, {.returns = 1});
  Add(34, {.stream = true});
  Add(35);
  Add(2000);
  Add(3000);
  EXPECT_EQ(Choose(16), (std::set<std::uint64_t>{34}));
  EXPECT_EQ(Choose(16), (std::set<std::uint64_t>{32, 35}));
}

TEST_F(S3FifoPolicyTest, AWalkRecyclesItsOwnPagesFirst) {
  for (std::uint64_t page = 0; page < 700; page += 10) Add(page * 100);
  for (std::uint64_t page = 100'000; page < 100'030; ++page) Add(page, {.stream = true});
  std::set<std::uint64_t> chosen;
  while (chosen.size() < 10) chosen.merge(Choose(1));
  for (std::uint64_t page : chosen) EXPECT_GE(page, 100'000u);
}

TEST_F(S3FifoPolicyTest, AWalkKeepsTheShareItNeeds) {
  for (std::uint64_t page = 0; page < 400; ++page) Add(page * 100);
  for (std::uint64_t page = 100'000; page < 100'010; ++page) Add(page, {.stream = true});
  EXPECT_EQ(Choose(1), (std::set<std::uint64_t>{0}));
}

TEST_F(S3FifoPolicyTest, WhatNobodyUsesLeavesEvenBesideAnEndlessWalk) {
  for (std::uint64_t page = 0; page < 10; ++page) Add(page * 100, {.returns = 3});
  std::uint64_t walk = 100'000;
  for (int i = 0; i < 100; ++i) Add(walk += 20, {.stream = true});
  std::size_t others = 0;
  for (int run = 0; run < 160; ++run) {
    for (std::uint64_t page : Choose(1)) others += page < 100'000;
    Add(walk += 20, {.stream = true});
  }
  EXPECT_EQ(others, 10u);  // one in kProbe
}

TEST_F(S3FifoPolicyTest, WhatCameBackOftenStaysLonger) {
  Add(0, {.returns = 1});
  Add(100, {.returns = 2});
  Add(200, {.returns = 3});
  for (std::uint64_t page : {0u, 100u, 200u}) EXPECT_EQ(Choose(1), (std::set<std::uint64_t>{page}));
  EXPECT_TRUE(Choose(1).empty());

  Add(0, {.returns = 3});
  for (std::uint64_t page = 1; page < 8; ++page) Add(page * 100, {.returns = 1});
  for (std::uint64_t page = 1; page < 8; ++page) EXPECT_EQ(Choose(1), (std::set<std::uint64_t>{page * 100}));
}

TEST_F(S3FifoPolicyTest, NewPagesLeaveBeforeThoseThatCameBack) {
  Add(0, {.returns = 1});
  Add(100, {.returns = 1});
  Add(200);
  Add(300);
  EXPECT_EQ(Choose(1), (std::set<std::uint64_t>{200}));
}

TEST_F(S3FifoPolicyTest, ARefusedPageGoesBackToTheEndOfItsQueue) {
  std::uint32_t refused = Add(0);
  Add(100);
  EXPECT_EQ(Choose(1), (std::set<std::uint64_t>{0}));
  index_of_[0] = refused;
  policy_.OnListed(refused);
  EXPECT_EQ(Choose(1), (std::set<std::uint64_t>{100}));
  EXPECT_EQ(Choose(1), (std::set<std::uint64_t>{0}));
}

TEST_F(S3FifoPolicyTest, EvenIfAllHaveRoundsLeftSomethingIsChosen) {
  for (std::uint64_t page = 0; page < 100'000; page += 20) Add(page, {.returns = 3});
  EXPECT_EQ(Choose(1).size(), 1u);
}

TEST(StreamDetector, NothingIsFetchedAlongWithoutProof) {
  StreamDetector detector;
  for (std::uint64_t page : {5u, 900u, 17u, 333u, 2u, 80u, 4000u}) EXPECT_EQ(detector.OnMiss(page), 1u);
}

TEST(StreamDetector, ThreadsThatWalkThroughOneAreaEachGetTheirWindow) {
  StreamDetector detector;
  std::uint64_t at[4] = {1000, 2000, 3000, 4000};
  for (int step = 0; step < 3; ++step)
    for (std::uint64_t& page : at) page += detector.OnMiss(page);
  for (std::uint64_t page : at) EXPECT_EQ(detector.OnMiss(page), StreamDetector::kMaxWindow);
}

TEST(StreamDetector, MissesThatBelongToNoWalkDoNotEndOne) {
  StreamDetector detector;
  std::uint64_t page = 1000;
  for (int step = 0; step < 3; ++step) page += detector.OnMiss(page);
  for (std::uint64_t stray = 0; stray < 50; ++stray) EXPECT_EQ(detector.OnMiss(100'000 + stray * 977), 1u);
  EXPECT_EQ(detector.OnMiss(page), StreamDetector::kMaxWindow);
}

TEST(StreamDetector, AWalkGetsAGrowingWindow) {
  StreamDetector detector;
  EXPECT_EQ(detector.OnMiss(10), 1u);
  EXPECT_EQ(detector.OnMiss(11), 1u);
  EXPECT_EQ(detector.OnMiss(12), StreamDetector::kFirstWindow);
  EXPECT_EQ(detector.OnMiss(20), StreamDetector::kMaxWindow);
  EXPECT_EQ(detector.OnMiss(36), StreamDetector::kMaxWindow);
  EXPECT_EQ(detector.OnMiss(9), 1u);  // turned away
}

TEST(StreamDetector, TheWindowDoublesUpToWhatTheCallerAllows) {
  StreamDetector detector;
  std::uint64_t page = 10;
  for (std::uint32_t window : {1u, 1u, 8u, 16u, 32u, 64u, 64u}) {
    EXPECT_EQ(detector.OnMiss(page, StreamDetector::kMaxZeroWindow), window);
    page += window;
  }
  EXPECT_EQ(detector.OnMiss(page, 20), 20u);
}

TEST(PageTable, FindsOnlyWhatWasAdded) {
  PageTable table;
  EXPECT_EQ(table.Find(PageNumber(5)), nullptr);
  table.Add(PageNumber(1000), 100);  // over an extent's border
  ASSERT_NE(table.Find(PageNumber(1023)), nullptr);
  ASSERT_NE(table.Find(PageNumber(1024)), nullptr);
  EXPECT_EQ(table.bytes(), 2u * kExtentPages * sizeof(PageEntry));
  table.Find(PageNumber(1024))->version = 9;
  PageTable copy = table.Clone();
  table.Release(PageNumber(1000), 24);
  EXPECT_EQ(table.Find(PageNumber(1000)), nullptr);
  EXPECT_EQ(table.Find(PageNumber(1024))->version, 9u);
  table.Release(PageNumber(1024), 76);
  EXPECT_EQ(table.bytes(), 0u);
  EXPECT_EQ(copy.Find(PageNumber(1024))->version, 9u);
}

TEST(PageEntry, HoldsItsWidths) {
  PageEntry entry{};
  entry.version = kMaxVersion;
  entry.set_state(PageState::kRemote);
  entry.set(PageEntry::kPinned);
  entry.set(PageEntry::kHashValid);
  entry.set_returns(9);
  entry.clear(PageEntry::kPinned);
  EXPECT_EQ(entry.version, kMaxVersion);
  EXPECT_EQ(entry.page_state(), PageState::kRemote);
  EXPECT_TRUE(entry.has(PageEntry::kHashValid));
  EXPECT_FALSE(entry.has(PageEntry::kPinned));
  EXPECT_EQ(entry.returns(), PageEntry::kMaxReturns);
  entry.set_returns(0);
  EXPECT_TRUE(entry.has(PageEntry::kHashValid));
  EXPECT_EQ(entry.returns(), 0);
}

TEST(PageHash, DiffersBySeedAndByte) {
  std::vector<std::byte> page(kPageBytes);
  EXPECT_TRUE(IsZeroPage(page.data()));
  EXPECT_EQ(HashPage(page.data(), 1), HashPage(page.data(), 1));
  EXPECT_NE(HashPage(page.data(), 1), HashPage(page.data(), 2));
  PageHash before = HashPage(page.data(), 1);
  page[kPageBytes - 1] = std::byte{1};
  EXPECT_NE(HashPage(page.data(), 1), before);
  EXPECT_FALSE(IsZeroPage(page.data()));
}

struct MapsCase {
  std::string line;
  bool parses, anonymous, candidate;
};

TEST(ProcMaps, KnowsWhatMayBeManaged) {
  const MapsCase cases[] = {
      {"7f12a000-7f12c000 rw-p 00000000 00:00 0 ", true, true, true},
      {"55e0d000-55e2e000 rw-p 00000000 00:00 0                          [heap]", true, true, true},
      {"55e0d000-55e2e000 rw-p 00000000 00:00 0                          [anon:glibc: malloc]", true, true, true},
      {"7f12a000-7f12c000 r--p 00000000 00:00 0 ", true, true, false},
      {"7f12a000-7f12c000 ---p 00000000 00:00 0 ", true, true, false},
      {"7f12a000-7f12c000 rw-s 00000000 00:01 1057                       /dev/zero (deleted)", true, false, false},
      {"7f12a000-7f12c000 rw-p 00002000 08:01 12345                      /usr/lib/libc.so.6", true, false, false},
      {"7ffd1000-7ffd3000 rw-p 00000000 00:00 0                          [stack]", true, false, false},
      {"7ffd1000-7ffd3000 r--p 00000000 00:00 0                          [vvar]", true, false, false},
      {"7ffd1000-7ffd3000 rw-p 00000000 00:00 0                          [uprobes]", true, false, false},
      {"7f12c000-7f12a000 rw-p 00000000 00:00 0 ", false, false, false},
      {"7f12a000 rw-p", false, false, false},
      {"", false, false, false},
      {"7f12a000-7f12c000 rw-p 0000", false, false, false},
  };
  for (const MapsCase& test : cases) {
    std::optional<MapsLine> line = ParseMapsLine(test.line);
    ASSERT_EQ(line.has_value(), test.parses) << test.line;
    if (!line.has_value()) continue;
    EXPECT_EQ(line->Anonymous(), test.anonymous) << test.line;
    EXPECT_EQ(line->Candidate(), test.candidate) << test.line;
  }
}

}  // namespace
}  // namespace ashlar::pnode
