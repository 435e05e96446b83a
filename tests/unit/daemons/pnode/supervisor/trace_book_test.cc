#include "daemons/pnode/supervisor/trace_book.h"

#include <algorithm>
#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/daemons/pnode/supervisor/plain_source.h"

namespace ashlar::pnode {
namespace {

constexpr SpaceId kProgram{7};
constexpr std::uint32_t kRead = 0;
constexpr std::uint32_t kExit = 60;

class TraceBookTest : public testing::Test {
 protected:
  std::uint32_t Begin(std::uint32_t pid = 100) {
    book_.Begin({.program = kProgram, .name = "prog", .pid = static_cast<int>(pid), .now_ns = 500});
    return source_.Fork(pid, kProgram);
  }
  std::uint32_t LeaderOf(std::uint32_t process) { return source_.table().processes[process].head - 1; }
  std::uint64_t Calls(std::uint32_t number) {
    const control::SyscallReport report = *book_.Report(kProgram, now_ns_);
    for (const control::SyscallStats& stats : report.total) {
      if (stats.number == number) return stats.calls;
    }
    return 0;
  }

  PlainSource source_;
  TraceBook book_{source_};
  std::uint64_t now_ns_ = 3000;
};

TEST_F(TraceBookTest, AnUntracedProgramIsNotFound) {
  EXPECT_TRUE(absl::IsNotFound(book_.Report(kProgram, 0).status()));
  EXPECT_TRUE(absl::IsNotFound(book_.Threads(kProgram, 0).status()));
}

TEST_F(TraceBookTest, LiveAndEndedThreadsAreInTheTotalsOnce) {
  const std::uint32_t process = Begin();
  source_.Call(LeaderOf(process), kRead, 200);
  const std::uint32_t worker = source_.StartThread(process, 101);
  source_.Call(worker, kRead, 300, /*error=*/true);
  source_.StartThread(process, 102);  // so that the worker is not the head
  for (int round = 0; round < 3; ++round) {
    const auto report = book_.Report(kProgram, now_ns_);
    ASSERT_TRUE(report.ok());
    ASSERT_EQ(report->total.size(), 1u);
    EXPECT_EQ(report->total[0].name, "read");
    EXPECT_EQ(report->total[0].calls, 2u);
    EXPECT_EQ(report->total[0].errors, 1u);
    EXPECT_EQ(report->total[0].total_ns, 500u);
    EXPECT_EQ(report->total[0].min_ns, 200u);
    EXPECT_EQ(report->total[0].max_ns, 300u);
    EXPECT_EQ(report->live_threads, round == 0 ? 3u : 2u);
    EXPECT_EQ(report->ended_threads, round == 0 ? 0u : 1u);
    if (round == 0) source_.EndThread(worker);
    if (round == 1) {
      EXPECT_EQ(book_.Tick(now_ns_), 1u);
    }
  }
}

TEST_F(TraceBookTest, ManyShortThreadsNeedFewSlots) {
  const std::uint32_t process = Begin();
  for (int i = 0; i < 10'000; ++i) {
    const std::uint32_t thread = source_.StartThread(process, 200 + static_cast<std::uint32_t>(i));
    ASSERT_NE(thread, ASHLAR_NO_SLOT) << i;
    source_.Call(thread, kRead, 100);
    source_.EndThread(thread);
    if (i % 4 == 0) book_.Tick(now_ns_);
  }
  EXPECT_LE(source_.slots_touched(), 8u);
  EXPECT_EQ(Calls(kRead), 10'000u);
  const auto threads = book_.Threads(kProgram, now_ns_);
  std::size_t ended_in_slots = 0;
  for (const auto& row : threads->threads) ended_in_slots += row.ended ? 1 : 0;
  EXPECT_EQ(threads->ended_without_a_row + ended_in_slots, 10'000u);
}

TEST_F(TraceBookTest, TheLongestLivedThreadsKeepTheirRow) {
  const std::uint32_t process = Begin();
  for (std::uint32_t i = 0; i < 1000; ++i) {
    const std::uint32_t thread = source_.StartThread(process, i, /*now_ns=*/1000);
    source_.EndThread(thread, 1000 + (i * 7919) % 1000);  // each life time once, in no order
    source_.StartThread(process, 5000);
    book_.Tick(now_ns_);
    source_.EndThread(LeaderOf(process), 1000);
  }
  const auto report = book_.Threads(kProgram, now_ns_);
  std::uint64_t shortest = UINT64_MAX;
  std::size_t kept = 0;
  for (const auto& row : report->threads) {
    if (!row.ended || row.tid >= 1000) continue;
    shortest = std::min(shortest, row.life_ns);
    ++kept;
  }
  EXPECT_EQ(kept, TraceBook::kThreadsKept);
  EXPECT_EQ(shortest, 1000u - TraceBook::kThreadsKept);
}

// Whatever the order in which four threads end, nothing is lost or counted twice, with the book looking after every step.
TEST_F(TraceBookTest, EveryOrderOfEndsGivesTheSameSums) {
  std::array<int, 4> order{0, 1, 2, 3};
  do {
    PlainSource source;
    TraceBook book(source);
    book.Begin({.program = kProgram, .now_ns = 1});
    const std::uint32_t process = source.Fork(100, kProgram);
    std::array<std::uint32_t, 4> threads{source.table().processes[process].head - 1};
    for (std::uint32_t i = 1; i < 4; ++i) threads[i] = source.StartThread(process, 100 + i);
    for (const std::uint32_t thread : threads) source.Call(thread, kRead, 100);
    for (const int each : order) {
      source.EndThread(threads[static_cast<std::size_t>(each)]);
      book.Tick(10);
      EXPECT_EQ(book.Report(kProgram, 10)->total[0].calls, 4u);
    }
    EXPECT_FALSE(book.Report(kProgram, 10)->final);
    source.EndProcess(process);
    book.Tick(10);
    const auto report = book.Report(kProgram, 10);
    EXPECT_TRUE(report->final);
    EXPECT_EQ(report->total[0].calls, 4u);
    EXPECT_EQ(report->ended_threads, 4u);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST_F(TraceBookTest, ChildrenBelongToTheProgramAndEndItLast) {
  const std::uint32_t parent = Begin();
  const std::uint32_t child = source_.Fork(200, kProgram);
  source_.Call(LeaderOf(parent), kRead, 100);
  source_.Call(LeaderOf(child), kRead, 100);
  source_.EndProcess(parent);
  book_.Tick(now_ns_);
  EXPECT_FALSE(book_.Report(kProgram, now_ns_)->final);
  source_.Call(LeaderOf(child), kRead, 100);
  source_.EndProcess(child);
  book_.Tick(now_ns_);
  const auto report = book_.Report(kProgram, now_ns_);
  EXPECT_TRUE(report->final);
  EXPECT_EQ(report->ended_processes, 2u);
  EXPECT_EQ(report->total[0].calls, 3u);
}

TEST_F(TraceBookTest, CallsThatNeverReturnedAreShownAsSuch) {
  const std::uint32_t process = Begin();
  source_.Enter(LeaderOf(process), kExit, 10);
  source_.EndProcess(process);
  book_.Tick(now_ns_);
  const auto report = book_.Report(kProgram, now_ns_);
  ASSERT_EQ(report->total.size(), 1u);
  EXPECT_EQ(report->total[0].name, "exit");
  EXPECT_EQ(report->total[0].calls, 0u);
  EXPECT_EQ(report->total[0].unreturned, 1u);
}

TEST_F(TraceBookTest, OverflowIsInTheTotals) {
  const std::uint32_t process = Begin();
  source_.CallInOverflow(process, 300);
  EXPECT_EQ(Calls(300), 1u);
  EXPECT_EQ(Calls(300), 1u) << "looking takes nothing";
  source_.EndProcess(process);
  book_.Tick(now_ns_);
  EXPECT_EQ(Calls(300), 1u);
}

TEST_F(TraceBookTest, HelperThreadsAreLeftOut) {
  const std::uint32_t process = Begin();
  const std::uint32_t helper = source_.StartThread(process, 101);
  source_.table().slots[helper].flags |= kSlotHelper;
  source_.Call(helper, kRead, 100);
  source_.Call(LeaderOf(process), kRead, 100);
  EXPECT_EQ(book_.Report(kProgram, now_ns_)->live_threads, 1u);
  source_.EndProcess(process);
  book_.Tick(now_ns_);
  EXPECT_EQ(book_.Report(kProgram, now_ns_)->ended_threads, 1u);
}

TEST_F(TraceBookTest, AProcessThatVanishedEndsItsTraceAfterAWhile) {
  const std::uint32_t process = Begin();
  source_.Call(LeaderOf(process), kRead, 100);
  source_.ForgetPid(100);
  book_.Tick(now_ns_);
  EXPECT_FALSE(book_.Report(kProgram, now_ns_)->final);
  book_.Tick(now_ns_ + TraceBook::kMissingNs);
  const auto report = book_.Report(kProgram, now_ns_);
  EXPECT_TRUE(report->final);
  EXPECT_TRUE(report->incomplete);
  EXPECT_EQ(report->total[0].calls, 1u);
}

TEST_F(TraceBookTest, AStoppedTraceKeepsItsNumbersAndCanBeginAnew) {
  const std::uint32_t process = Begin();
  source_.Call(LeaderOf(process), kRead, 100);
  source_.Enter(LeaderOf(process), kRead, 10);
  book_.End(kProgram, now_ns_);
  EXPECT_FALSE(book_.Traces(kProgram));
  EXPECT_EQ(Calls(kRead), 1u);
  EXPECT_EQ(book_.Report(kProgram, now_ns_)->total[0].unreturned, 0u) << "it may return, we do not know";
  Begin();
  EXPECT_EQ(Calls(kRead), 0u);
}

TEST_F(TraceBookTest, EndedProgramsAreForgottenOneByOne) {
  for (std::uint32_t i = 1; i <= TraceBook::kEndedKept + 1; ++i) {
    book_.Begin({.program = SpaceId(i), .now_ns = 1});
    source_.EndProcess(source_.Fork(1000 + i, SpaceId(i)));
    book_.Tick(now_ns_);
  }
  EXPECT_TRUE(absl::IsNotFound(book_.Report(SpaceId(1), now_ns_).status()));
  EXPECT_TRUE(book_.Report(SpaceId(2), now_ns_)->final);
}

}  // namespace
}  // namespace ashlar::pnode
