#include "cli/strace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/cli/fake_cluster.h"

namespace ashlar::cli {
namespace {

using testing::HasSubstr;
using testing::Not;

control::SyscallStats Stats(std::uint32_t number, std::string name, std::uint64_t calls, std::uint64_t ns) {
  control::SyscallStats stats{.number = number, .name = std::move(name), .calls = calls, .total_ns = calls * ns, .min_ns = ns, .max_ns = ns};
  stats.histogram[Log2BucketOf(ns)] = calls;
  return stats;
}

control::SyscallReport Report() {
  control::SyscallReport report{.program = SpaceId(0x2a), .name = "redis", .pid = 4711, .elapsed_ns = 41'200'000'000, .live_threads = 3, .ended_threads = 12, .live_processes = 1};
  report.total = {Stats(0, "read", 40'020, 5'000), Stats(1, "write", 40'010, 4'000), Stats(232, "epoll_wait", 40'012, 20'000)};
  report.total[0].errors = 14;
  report.total[0].miss_ns = report.total[0].total_ns / 4;
  report.total[2].restarted = 2;
  control::SyscallStats exit{.number = 60, .name = "exit", .unreturned = 12};
  report.total.push_back(exit);
  return report;
}

TEST(CliStrace, TheTableForPeople) {
  EXPECT_EQ(RenderSyscalls(Report(), {}),
            "program 4711 redis  3 live, 12 ended threads  41.2 s\n"
            "% time     seconds  usecs/call     calls    errors syscall            p50 us    p99 us    max us restart miss %\n"
            "------ ----------- ----------- --------- --------- ---------------- -------- --------- --------- ------- ------\n"
            " 68.96    0.800240          20     40012           epoll_wait           20.0      20.0      20.0       2    0.0\n"
            " 17.24    0.200100           5     40020        14 read                  5.0       5.0       5.0           25.0\n"
            " 13.79    0.160040           4     40010           write                 4.0       4.0       4.0            0.0\n"
            "------ ----------- ----------- --------- --------- ---------------- -------- --------- --------- ------- ------\n"
            "100.00    1.160380           9    120042        14 total                                    20.0       2    4.3\n"
            "never returned: exit 12\n");
}

TEST(CliStrace, CompatIsTheTableOfStrace) {
  const std::string out = RenderSyscalls(Report(), {.sort = StraceSort::kErrors, .compat = true});
  EXPECT_THAT(out, HasSubstr("% time     seconds  usecs/call     calls    errors syscall\n"
                             "------ ----------- ----------- --------- --------- ----------------\n"
                             " 17.24    0.200100           5     40020        14 read\n"));
  EXPECT_THAT(out, Not(HasSubstr("program")));
}

TEST(CliStrace, WhatIsMissingIsSaid) {
  control::SyscallReport report = Report();
  report.lost = 3;
  report.overflow_threads = 1;
  report.incomplete = true;
  const std::string out = RenderSyscalls(report, {});
  EXPECT_THAT(out, HasSubstr("LOST 3"));
  EXPECT_THAT(out, HasSubstr("1 thread without a slot"));
  EXPECT_THAT(out, HasSubstr("incomplete"));
}

TEST(CliStrace, RatesBetweenTwoReports) {
  control::SyscallReport later = Report();
  later.elapsed_ns += 2'000'000'000;
  later.total[0].calls += 5'000;
  const control::SyscallReport before = Report();
  EXPECT_THAT(RenderSyscalls(later, {}, &before), HasSubstr("      2500\n"));
}

TEST(CliStrace, ThreadsAndTheirPresentCall) {
  control::ThreadReport report;
  report.threads.push_back({.pid = 4711, .tid = 4713, .name = "io\x1b[0m", .life_ns = 1'000'000, .syscalls = Report().total, .in_call = "futex", .in_call_ns = 500'000});
  report.ended_without_a_row = 7;
  const std::string out = RenderThreads(report, {});
  EXPECT_THAT(out, HasSubstr("thread 4713 of 4711 io?[0m  lives for 1 ms; in futex for 500 us"));
  EXPECT_THAT(out, HasSubstr("and 7 ended threads"));
}

TEST(CliStrace, JsonHasEverything) {
  const std::string json = ThreadsJson(Report(), {.threads = {{.pid = 1, .tid = 2}}}).ToString();
  EXPECT_TRUE(IsJson(json));
  EXPECT_THAT(json, HasSubstr("\"schema\": \"ashlar.strace/1\""));
  EXPECT_THAT(json, HasSubstr("\"p99_ns\": 5000"));
}

TEST(CliStrace, Options) {
  const auto parse = [](std::vector<std::string> words) { return ParseOptions(words, false); };
  EXPECT_EQ(parse({"strace", "4711"}).options.verb, Verb::kStrace);
  EXPECT_EQ(parse({"strace", "4711", "--sort", "miss"}).options.strace.sort, StraceSort::kMiss);
  EXPECT_EQ(parse({"strace", "4711", "--watch"}).options.strace.watch, absl::Seconds(1));
  EXPECT_EQ(parse({"strace", "4711", "--watch=250ms"}).options.strace.watch, absl::Milliseconds(250));
  const ParsedOptions run = parse({"strace", "--sort", "calls", "--", "ls", "-l"});
  EXPECT_FALSE(run.outcome.has_value());
  EXPECT_EQ(run.options.verb, Verb::kRun);
  EXPECT_TRUE(run.options.run.strace);
  EXPECT_EQ(run.options.run.command.size(), 2u);
  EXPECT_TRUE(parse({"run", "--strace", "--", "ls"}).options.run.strace);
  for (const std::vector<std::string>& bad : std::vector<std::vector<std::string>>{
           {"strace"}, {"strace", "x", "--watch=1ms"}, {"strace", "x", "--sort", "size"}, {"strace", "x", "--", "ls"}, {"strace", "x", "--watch", "--threads"}}) {
    EXPECT_TRUE(parse(bad).outcome.has_value()) << bad.back();
  }
}

}  // namespace
}  // namespace ashlar::cli
