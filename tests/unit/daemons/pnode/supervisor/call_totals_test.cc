#include "daemons/pnode/supervisor/call_totals.h"

#include <gtest/gtest.h>

#include "daemons/pnode/supervisor/syscall_names.h"

namespace ashlar::pnode {
namespace {

TEST(CallTotals, SumsMinimaMaximaAndBuckets) {
  syscall_entry a{.nr = 1, .restarted = 1, .calls = 2, .errors = 1, .total_ns = 30, .max_ns = 20, .min_ns = 10, .miss_ns = 5, .miss_count = 1};
  syscall_entry b{.nr = 1, .calls = 1, .total_ns = 7, .max_ns = 7, .min_ns = 7};
  a.histogram[0] = 2;
  b.histogram[0] = 1;
  CallTotals totals;
  totals.Add(a);
  totals.Add(b);
  CallTotals twice = totals;
  twice.Add(totals);
  const control::SyscallStats sum = totals.List().at(0);
  EXPECT_EQ(sum.calls, 3u);
  EXPECT_EQ(sum.errors, 1u);
  EXPECT_EQ(sum.restarted, 1u);
  EXPECT_EQ(sum.total_ns, 37u);
  EXPECT_EQ(sum.min_ns, 7u);
  EXPECT_EQ(sum.max_ns, 20u);
  EXPECT_EQ(sum.miss_ns, 5u);
  EXPECT_EQ(sum.histogram[0], 3u);
  EXPECT_EQ(twice.List().at(0).calls, 6u);
  EXPECT_EQ(twice.List().at(0).min_ns, 7u);
}

TEST(CallTotals, AnEntryThatWasOnlyEnteredIsNoRow) {
  CallTotals totals;
  totals.Add(syscall_entry{.nr = 35});
  EXPECT_TRUE(totals.List().empty());
}

TEST(SyscallName, KnownForeignAndUnknown) {
  EXPECT_EQ(SyscallName(0), "read");
  EXPECT_EQ(SyscallName(231), "exit_group");
  EXPECT_EQ(SyscallName(kForeignNumber), "foreign");
  EXPECT_EQ(SyscallName(510), "syscall_510");
  EXPECT_EQ(SyscallName(100'000), "syscall_100000");
}

}  // namespace
}  // namespace ashlar::pnode
