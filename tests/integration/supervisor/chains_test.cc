// The chains against the real kernel: counts equal to strace's, lifecycles, bounds.
#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/time/clock.h"
#include "daemons/pnode/supervisor/supervisor.h"
#include "tests/integration/supervisor/strace_table.h"
#include "tests/support/traced_program.h"

namespace ashlar::pnode {
namespace {

constexpr SpaceId kProgram{42};

std::vector<std::string> Words(const std::string& mode, int n = 4) {
  return {ASHLAR_TEST_PROGRAMS "/syscalls", mode, std::to_string(n)};
}

void DropCapability(int capability) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct sets[2];
  ::syscall(SYS_capget, &header, sets);
  sets[capability / 32].effective &= ~(1u << capability % 32);
  ::syscall(SYS_capset, &header, sets);
}

class Chains : public testing::Test {
 protected:
  void Start(const BpfTracer::Options& options = {}) {
    supervisor_ = std::make_unique<Supervisor>(options);
    if (const absl::Status status = supervisor_->Prepare(); !status.ok()) GTEST_SKIP() << status;
  }
  // Runs the program under the supervisor to its end, and returns the final report.
  control::SyscallReport Run(const std::vector<std::string>& words) {
    if (supervisor_ == nullptr) Start();
    if (IsSkipped()) return {};
    TracedProgram program(words);
    const auto traced = supervisor_->Trace({.program = kProgram, .name = words[1], .pid = program.pid()});
    EXPECT_TRUE(traced.ok()) << traced.status();
    program.LetGo();
    program.Wait();
    return Final();
  }
  // The last process has ended; its exit hook, a moment before, too.
  control::SyscallReport Final() {
    const absl::Time deadline = absl::Now() + absl::Seconds(10);
    for (;;) {
      auto report = supervisor_->Report(kProgram);
      EXPECT_TRUE(report.ok()) << report.status();
      if (!report.ok() || report->final || absl::Now() > deadline) {
        EXPECT_TRUE(report.ok() && report->final) << "the end was not seen";
        return report.ok() ? *report : control::SyscallReport{};
      }
      absl::SleepFor(absl::Milliseconds(1));
    }
  }
  static control::SyscallStats Of(const control::SyscallReport& report, const std::string& name) {
    for (const auto& stats : report.total) {
      if (stats.name == name) return stats;
    }
    return {};
  }
  std::uint64_t Stat(const std::string& name) {
    StatList stats;
    supervisor_->AddStats(&stats);
    for (const auto& stat : stats.values) {
      if (stat.name == name) return stat.value;
    }
    return 0;
  }
  // As strace counts: a restarted call is an error to it.
  static CountsByName AsStrace(const control::SyscallReport& report, const std::set<std::string>& left_out) {
    CountsByName counts;
    for (const auto& stats : report.total) {
      if (stats.calls == 0 || left_out.contains(stats.name)) continue;
      counts[stats.name] = {.calls = stats.calls, .errors = stats.errors + stats.restarted};
    }
    return counts;
  }
  void ExpectAsStrace(const std::vector<std::string>& words, std::set<std::string> left_out) {
    const control::SyscallReport report = Run(words);
    if (IsSkipped()) return;
    std::optional<CountsByName> strace = CountWithStrace(words);
    if (!strace) GTEST_SKIP() << "no strace here";
    for (const std::string& name : left_out) strace->erase(name);
    EXPECT_EQ(AsStrace(report, left_out), *strace) << words[1];
    EXPECT_EQ(report.lost, 0u);
    EXPECT_FALSE(report.incomplete);
  }

  std::unique_ptr<Supervisor> supervisor_;
};

// Which of them a thread library makes depends on who is faster.
const std::set<std::string> kTiming = {"futex", "munmap", "mprotect", "mmap", "madvise", "restart_syscall", "brk"};
std::set<std::string> Plus(std::set<std::string> names, const std::string& more) {
  names.insert(more);
  return names;
}

TEST_F(Chains, OneThreadIsAsStraceSaysToTheCall) { ExpectAsStrace(Words("single"), {}); }
TEST_F(Chains, ThreadsThatMigrate) { ExpectAsStrace(Words("migrate", 3), kTiming); }
TEST_F(Chains, AThreadThatExecs) { ExpectAsStrace(Words("thread_exec", 3), Plus(kTiming, "nanosleep")); }
TEST_F(Chains, VforkAndExec) { ExpectAsStrace(Words("vfork", 10), {}); }
TEST_F(Chains, Forks) { ExpectAsStrace(Words("fork", 20), {"rt_sigprocmask"}); }
TEST_F(Chains, TheLeaderLeavesFirst) { ExpectAsStrace(Words("leader_leaves", 3), kTiming); }
TEST_F(Chains, ExitGroupWithSleepers) { ExpectAsStrace(Words("exit_group", 3), Plus(kTiming, "nanosleep")); }
TEST_F(Chains, MoreDistinctCallsThanEntries) { ExpectAsStrace(Words("wide"), {}); }
TEST_F(Chains, ACallThatIsInterrupted) { ExpectAsStrace(Words("interrupted"), {}); }

// strace does not see the end of a call in which a thread is killed; the kernel tells us: it was to be restarted.
TEST_F(Chains, KilledInsideACall) {
  const control::SyscallReport report = Run(Words("kill", 5));
  if (IsSkipped()) return;
  EXPECT_EQ(Of(report, "getpid").calls, 11u);  // with the one for kill
  const control::SyscallStats sleep = Of(report, "nanosleep");
  EXPECT_EQ(sleep.calls + sleep.unreturned, 6u);
  EXPECT_EQ(sleep.errors, 0u);
  EXPECT_EQ(report.ended_threads, 6u);
}

TEST_F(Chains, OnePidUsedAgainAndAgain) {
  const control::SyscallReport report = Run(Words("reuse", 6));
  if (IsSkipped()) return;
  EXPECT_EQ(Of(report, "getppid").calls, 6u * 7u);
  EXPECT_EQ(report.ended_processes, 7u);
}

TEST_F(Chains, ThreadsThatEndTogetherEndTheProcessOnce) {
  const control::SyscallReport report = Run(Words("race", 200));
  if (IsSkipped()) return;
  EXPECT_EQ(report.ended_processes, 201u);
  EXPECT_FALSE(report.incomplete);
  EXPECT_EQ(report.lost, 0u);
}

TEST_F(Chains, TenThousandShortThreadsFitInFewSlots) {
  const control::SyscallReport report = Run(Words("many", 10'000));
  if (IsSkipped()) return;
  EXPECT_EQ(Of(report, "getppid").calls, 30'000u);
  EXPECT_EQ(report.ended_threads, 10'001u);
  EXPECT_EQ(report.overflow_threads, 0u);
  EXPECT_LT(Stat("strace_slots_used"), 2048u);
  EXPECT_EQ(report.lost, 0u);
}

TEST_F(Chains, HundredThousandShortThreadsInBoundedMemory) {
  const control::SyscallReport report = Run(Words("many", 100'000));
  if (IsSkipped()) return;
  EXPECT_EQ(Of(report, "getppid").calls, 300'000u);
  EXPECT_EQ(report.ended_threads, 100'001u);
  EXPECT_LE(Stat("strace_slots_used"), 2048u);
  EXPECT_EQ(report.lost, 0u);
}

TEST_F(Chains, WithoutRightsTheMissingOneIsNamed) {
  EXPECT_EXIT(
      {
        for (const int capability : {CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN}) DropCapability(capability);
        const absl::Status status = Supervisor().Prepare();
        std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
        ::_exit(absl::IsPermissionDenied(status) ? 0 : 1);
      },
      testing::ExitedWithCode(0), "lacks CAP_BPF and CAP_PERFMON");
}

TEST_F(Chains, WithoutFreeSlotsTheTotalsStayExact) {
  Start({.slot_count = 16, .process_count = 16});
  const control::SyscallReport report = Run(Words("crowd", 2048));
  if (IsSkipped()) return;
  EXPECT_EQ(Of(report, "getppid").calls, 3u * 2048u);
  EXPECT_GT(report.overflow_threads, 0u);
  EXPECT_EQ(report.ended_threads, 2049u);
  EXPECT_EQ(report.lost, 0u);
}

TEST_F(Chains, WithoutFreeProcessRecordsTheRestIsSaid) {
  Start({.slot_count = 256, .process_count = 2});
  const control::SyscallReport report = Run(Words("fork", 50));
  if (IsSkipped()) return;
  EXPECT_EQ(Of(report, "getppid").calls, 0u);
  EXPECT_GE(report.others_calls, 50u * 7u);
  EXPECT_EQ(report.lost, 0u);
}

TEST_F(Chains, ARunningProgramIsTracedFromWhenItIsAsked) {
  Start();
  if (IsSkipped()) return;
  TracedProgram program({"/bin/sh", "-c", "while :; do /bin/true; done"});
  program.LetGo();
  absl::SleepFor(absl::Milliseconds(50));
  ASSERT_TRUE(supervisor_->Trace({.program = kProgram, .name = "sh", .pid = program.pid(), .late = true}).ok());
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  while (Of(*supervisor_->Report(kProgram), "execve").calls < 5 && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(5));
  const auto report = supervisor_->Report(kProgram);
  EXPECT_GE(Of(*report, "execve").calls, 5u);
  EXPECT_TRUE(report->attached_late);
  EXPECT_FALSE(supervisor_->Threads(kProgram)->threads.empty());
  // Stopped: the program runs on, nothing is counted any more.
  ASSERT_TRUE(supervisor_->Stop(kProgram).ok());
  const std::uint64_t calls = Of(*supervisor_->Report(kProgram), "execve").calls;
  absl::SleepFor(absl::Milliseconds(30));
  EXPECT_EQ(Of(*supervisor_->Report(kProgram), "execve").calls, calls);
  EXPECT_EQ(::kill(program.pid(), 0), 0);
}

TEST_F(Chains, ACallInProgressIsShownWithItsAge) {
  Start();
  if (IsSkipped()) return;
  TracedProgram program({"/bin/sleep", "30"});
  ASSERT_TRUE(supervisor_->Trace({.program = kProgram, .pid = program.pid()}).ok());
  program.LetGo();
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  control::ThreadStats thread;
  while (thread.in_call != "clock_nanosleep" && absl::Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(5));
    thread = supervisor_->Threads(kProgram)->threads.at(0);
  }
  EXPECT_EQ(thread.in_call, "clock_nanosleep");
  EXPECT_EQ(thread.name, "sleep");
  const std::uint64_t first = thread.in_call_ns;
  EXPECT_GT(supervisor_->Threads(kProgram)->threads.at(0).in_call_ns, first);
}

TEST_F(Chains, AttachedOnlyWhileSomethingIsTraced) {
  Start();
  if (IsSkipped()) return;
  const auto attached = [&] { return Stat("strace_attached") == 1; };
  EXPECT_FALSE(attached());
  Run(Words("leaf"));
  EXPECT_TRUE(attached()) << "a moment longer, in case another program follows";
  const absl::Time deadline = absl::Now() + 10 * Supervisor::kLinger;
  while (attached() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(20));
  EXPECT_FALSE(attached());
  EXPECT_EQ(Of(Run(Words("leaf")), "getpid").calls, 111u) << "and again";
}

TEST_F(Chains, ALeaseRunsOutUnlessSomebodyAsks) {
  Start();
  if (IsSkipped()) return;
  TracedProgram program({"/bin/sleep", "30"});
  ASSERT_TRUE(supervisor_->Trace({.program = kProgram, .pid = program.pid(), .late = true, .lease = absl::Milliseconds(200)}).ok());
  for (int i = 0; i < 20; ++i) {
    absl::SleepFor(absl::Milliseconds(20));
    ASSERT_FALSE(supervisor_->Report(kProgram)->final);
  }
  const absl::Time deadline = absl::Now() + absl::Seconds(10);
  const auto traced = [&] { return Stat("strace_programs") == 1; };
  while (traced() && absl::Now() < deadline) absl::SleepFor(absl::Milliseconds(20));
  EXPECT_FALSE(traced());
}

}  // namespace
}  // namespace ashlar::pnode
