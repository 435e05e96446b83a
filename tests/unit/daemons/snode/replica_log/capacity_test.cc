// The cleaner and the states of fullness, on a log of 8 segments of 512 KiB.
#include <random>

#include "tests/unit/daemons/snode/replica_log/log_fixture.h"

namespace ashlar::snode {
namespace {

class CapacityTest : public LogFixture {
 protected:
  void SetUp() override {
    Start();
    ASSERT_EQ(Open(5, Opening(1)).outcome, Outcome::kTaken);
  }
  // Appends one call of `pages` at `version`, checks that all were taken.
  void Write(std::uint64_t first, std::uint64_t count, std::uint64_t version, std::uint64_t space = 5) {
    std::deque<TestPage> pages;
    std::vector<PageAppend> appends;
    for (std::uint64_t i = 0; i < count; ++i) appends.push_back(pages.emplace_back(space, first + i, version).Append());
    for (const AppendResult& result : Append(appends)) ASSERT_EQ(result.outcome, Outcome::kTaken);
  }
};

TEST_F(CapacityTest, OverwritingManyTimesTheCapacityNeverFillsTheLog) {
  constexpr std::uint64_t kPages = 300;
  std::map<std::uint64_t, std::uint64_t> version;
  std::mt19937_64 random(3);
  for (int round = 0; round < 400; ++round) {  // 25,600 pages into room for 1,024
    const std::uint64_t first = random() % (kPages - 64);
    std::deque<TestPage> pages;
    std::vector<PageAppend> appends;
    for (std::uint64_t p = first; p < first + 64; ++p)
      appends.push_back(pages.emplace_back(5, p, ++version[p]).Append());
    for (const AppendResult& result : Append(appends)) ASSERT_EQ(result.outcome, Outcome::kTaken) << "round " << round;
    if (round % 100 == 50) Restart();
  }
  for (const auto& [page, held] : version) EXPECT_EQ(Held(5, page), held);
  EXPECT_EQ(log_->index().page_count(), version.size());
  EXPECT_GT(Stat("cleaned_segments_total"), 10U);
}

TEST_F(CapacityTest, SinglePagesOverwrittenAtHighFillNeverFillTheLog) {
  for (std::uint64_t p = 0; p < 500; p += 50) Write(p, 50, 1);  // 80 % of what may be live
  std::mt19937_64 random(4);
  std::map<std::uint64_t, std::uint64_t> version;
  for (int i = 0; i < 3000; ++i) {
    const std::uint64_t page = random() % 500;
    const std::uint64_t next = std::max<std::uint64_t>(version[page], 1) + 1;
    ASSERT_EQ(AppendOne(TestPage(5, page, next).Append()), Outcome::kTaken) << i;
    version[page] = next;
  }
  Restart();
  for (std::uint64_t p = 0; p < 500; ++p) EXPECT_EQ(Held(5, p), version.contains(p) && version[p] ? version[p] : 1);
}

TEST_F(CapacityTest, AFullLogRefusesAppendsAndComesBackByTrims) {
  std::uint64_t page = 0;
  while (log_->capacity() != CapacityState::kFull) {
    ASSERT_LT(page, 1000U);
    Write(page, 10, 1);
    page += 10;
  }
  const TestPage more(5, page, 1);
  const PageAppend append = more.Append();
  EXPECT_TRUE(absl::IsResourceExhausted(log_->Append({&append, 1}, [](auto) { FAIL(); })));
  EXPECT_EQ(Fence(5, 2).outcome, Outcome::kTaken);
  EXPECT_EQ(Open(6, Opening(1)).outcome, Outcome::kTaken);
  Restart();
  EXPECT_EQ(log_->capacity(), CapacityState::kFull);
  EXPECT_EQ(Trim(5, 0, page / 2, 1, 2).outcome, Outcome::kTaken);
  EXPECT_EQ(log_->capacity(), CapacityState::kOk);
  for (std::uint64_t p = 2000; p < 2150; ++p) ASSERT_EQ(AppendOne(TestPage(5, p, 1).Append(2)), Outcome::kTaken);
  for (std::uint64_t p = page / 2; p < page; ++p) EXPECT_EQ(Held(5, p), 1U);
  EXPECT_EQ(Held(5, 0), 0U);
}

TEST_F(CapacityTest, TrimsWithoutEndDoNotFillTheLog) {
  Write(0, 60, 1);
  for (std::uint64_t i = 0; i < 4000; ++i) ASSERT_EQ(Trim(5, 100 + i % 700, 1, 1 + i).outcome, Outcome::kTaken);
  EXPECT_EQ(Held(5, 59), 1U);
  Restart();
  EXPECT_EQ(Held(5, 59), 1U);
}

TEST_F(CapacityTest, SpacesComeAndGoAndLeaveNothing) {
  Restart(24);
  for (std::uint64_t space = 10; space < 250; ++space) {
    ASSERT_EQ(Open(space, Opening(1)).outcome, Outcome::kTaken);
    Write(0, 60, 1, space);
    ASSERT_EQ(End(space).outcome, Outcome::kTaken);
    ASSERT_EQ(AppendOne(TestPage(space, 0, 2).Append()), Outcome::kEnded);
  }
  EXPECT_LT(log_->index().space_count(), 100U) << "the first ended spaces are forgotten";
  EXPECT_EQ(log_->index().page_count(), 0U);
  Restart(24);
  EXPECT_EQ(log_->index().page_count(), 0U);
  EXPECT_EQ(Fence(5, 1).outcome, Outcome::kTaken) << "an open outlives every cleaning";
}

// A trimmed version must not come back when its trim has been cleaned away, whatever was used again first.
TEST_F(CapacityTest, TrimmedPagesStayGoneThroughCleaningAndRestarts) {
  std::mt19937_64 random(5);
  std::map<std::uint64_t, std::uint64_t> held;     // page → version
  std::map<std::uint64_t, std::uint64_t> highest;  // page → highest ever used
  for (int step = 0; step < 1500; ++step) {
    const std::uint64_t page = random() % 200;
    if (random() % 4 == 0) {
      const std::uint64_t count = 1 + random() % 8;
      std::uint64_t upto = 1;
      for (std::uint64_t p = page; p < page + count; ++p) upto = std::max(upto, highest[p]);
      ASSERT_EQ(Trim(5, page, count, upto).outcome, Outcome::kTaken);
      for (std::uint64_t p = page; p < page + count; ++p) {
        held.erase(p);
        highest[p] = upto;
      }
    } else {
      Write(page, 1, ++highest[page]);
      held[page] = highest[page];
    }
    if (step % 50 == 49) Restart();
  }
  for (std::uint64_t p = 0; p < 210; ++p) ASSERT_EQ(Held(5, p), held.contains(p) ? held[p] : 0) << "page " << p;
}

TEST_F(CapacityTest, AFailedSegmentIsRetiredOnceItIsCleaned) {
  Write(0, 20, 1);
  disk_->FailNextWrites(1);
  Write(20, 20, 1);
  for (std::uint64_t version = 1; version < 80; ++version) Write(100, 60, version);
  EXPECT_EQ(Stat("segments", "state=retired"), 1U);
  for (std::uint64_t p = 0; p < 40; ++p) EXPECT_EQ(Held(5, p), 1U);
  for (int start = 0; start < 2; ++start) {
    Restart();
    EXPECT_EQ(Stat("segments", "state=retired"), 1U);
    for (std::uint64_t p = 0; p < 40; ++p) EXPECT_EQ(Held(5, p), 1U);
  }
}

TEST_F(CapacityTest, APageThatRotsIsStillKnownAsLostWhenItsSegmentIsUsedAgain) {
  Write(0, 60, 1);
  medium_.segments.at(0)[5 * disk::kBlockBytes] ^= std::byte{1};  // a page of the first segment
  for (std::uint64_t version = 1; version < 30; ++version) Write(100, 60, version);
  EXPECT_GT(Stat("cleaned_segments_total"), 8U) << "every segment was used again";
  const auto bad = [&] {
    std::vector<std::uint64_t> pages;
    for (std::uint64_t p = 0; p < 60; ++p)
      if (IsBad(5, p)) pages.push_back(p);
    return pages;
  };
  const std::vector<std::uint64_t> lost = bad();
  ASSERT_EQ(lost.size(), 1U);
  for (int start = 0; start < 2; ++start) {
    Restart();
    EXPECT_EQ(bad(), lost) << "and a start remembers it";
    EXPECT_EQ(Stat("bad_pages"), 1U);
    for (std::uint64_t version = 100 + 30 * static_cast<std::uint64_t>(start), end = version + 25; version < end; ++version) Write(100, 60, version);
  }
  EXPECT_EQ(AppendOne(TestPage(5, lost[0], 1).Append()), Outcome::kTaken) << "sent again, it is as new";
  EXPECT_EQ(bad().size(), 0U);
  Restart();
  EXPECT_EQ(Held(5, lost[0]), 1U);
}

}  // namespace
}  // namespace ashlar::snode
