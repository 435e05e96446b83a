// What counting system calls costs: the program that is counted, its neighbours, and the same under strace(1), in one run.
//
// Each value is a difference: with, minus without, measured right before and after each other, per call or thread. CPU time
// is the program's own (user and system), so waiting for a CPU is not in it.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "daemons/pnode/supervisor/supervisor.h"
#include "tests/bench/harness.h"
#include "tests/support/traced_program.h"

namespace {

using ashlar::SpaceId;
using ashlar::pnode::Supervisor;
using ashlar::pnode::TracedProgram;

struct Cost {
  double cpu_ns = 0;
  double wall_ns = 0;
};

std::vector<std::string> Words(const std::string& mode, int n) { return {ASHLAR_TEST_PROGRAMS "/syscalls", mode, std::to_string(n)}; }

Cost Run(const std::vector<std::string>& words, const std::function<void(int pid)>& before_start = {}) {
  TracedProgram program(words);
  if (before_start) before_start(program.pid());
  const absl::Time begin = absl::Now();
  program.LetGo();
  const rusage used = program.WaitForUsage();
  const auto ns = [](const timeval& time) { return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_usec) * 1e3; };
  return {ns(used.ru_utime) + ns(used.ru_stime), static_cast<double>(absl::ToInt64Nanoseconds(absl::Now() - begin))};
}

class Counted {
 public:
  Supervisor& supervisor() { return supervisor_; }
  Cost Run(const std::vector<std::string>& words) {
    const SpaceId program(++last_);
    const Cost cost = ::Run(words, [&](int pid) { Trace(program, pid); });
    if (const auto report = supervisor_.Report(program); report.ok()) lost_ = report->lost;
    return cost;
  }
  void Trace(SpaceId program, int pid) {
    if (const auto traced = supervisor_.Trace({.program = program, .pid = pid}); !traced.ok()) ++lost_;
  }
  // Until nothing is attached any more.
  void WaitIdle() { absl::SleepFor(Supervisor::kLinger + absl::Milliseconds(200)); }
  std::uint64_t lost() const { return lost_; }

 private:
  Supervisor supervisor_;
  std::uint64_t last_ = 0;
  std::uint64_t lost_ = 0;
};

// One value a round: (with - without) ÷ `per`.
ashlar::bench::Harness::Round Added(const std::function<double()>& with, const std::function<double()>& without, double per) {
  return [=] {
    const double base = without();
    return std::vector<double>{(with() - base) / per};
  };
}

}  // namespace

int main(int argc, char** argv) {
  ashlar::bench::Harness harness("strace", argc, argv);
  Counted counted;
  const ashlar::bench::Metric getpid{.metric = "getpid_cpu_ns", .unit = "ns", .fair = "CPU time added to a call by counting it"};
  if (const absl::Status status = counted.supervisor().Prepare(); !status.ok()) {
    harness.Skip(getpid, std::string(status.message()));
    return 0;
  }
  const int calls = harness.quick() ? 200'000 : 2'000'000;
  const auto loop = Words("getpid", calls);
  harness.Measure(getpid, Added([&] { return counted.Run(loop).cpu_ns; }, [&] { counted.WaitIdle(); return Run(loop).cpu_ns; }, calls));

  // Somebody else is counted: what it costs everybody.
  harness.Measure({.metric = "bystander_cpu_ns", .unit = "ns", .fair = "CPU time added to a call of a process that nobody counts, on the same host"},
                  Added(
                      [&] {
                        TracedProgram sleeper({"/bin/sleep", "60"});
                        counted.Trace(SpaceId(1'000'000), sleeper.pid());
                        const double cpu_ns = Run(loop).cpu_ns;
                        return cpu_ns;
                      },
                      [&] { counted.WaitIdle(); return Run(loop).cpu_ns; }, calls));
  harness.Measure({.metric = "idle_cpu_ns", .unit = "ns", .fair = "loaded, nothing counted, against itself: the noise"},
                  Added([&] { counted.WaitIdle(); return Run(loop).cpu_ns; }, [&] { return Run(loop).cpu_ns; }, calls));

  const int few = harness.quick() ? 5'000 : 20'000;
  const auto short_loop = Words("getpid", few);
  std::vector<std::string> under_strace = {"/usr/bin/strace", "-f", "-c", "-o", "/dev/null"};
  under_strace.insert(under_strace.end(), short_loop.begin(), short_loop.end());
  const ashlar::bench::Metric against{.metric = "wall_vs_strace", .unit = "times", .fair = "wall time strace -f -c adds to a call, over what we add"};
  if (::access("/usr/bin/strace", X_OK) != 0) {
    harness.Skip(against, "no strace here");
  } else {
    harness.Measure(against, [&] {
      counted.WaitIdle();
      const double plain = Run(short_loop).wall_ns / few;
      const double strace = Run(under_strace).wall_ns / few - plain;
      const double long_plain = Run(loop).wall_ns / calls;
      const double ours = counted.Run(loop).wall_ns / calls - long_plain;
      return std::vector<double>{strace / std::max(ours, 1.0)};
    });
  }

  const int threads = harness.quick() ? 2'000 : 20'000;
  const auto short_threads = Words("many", threads);
  harness.Measure({.metric = "thread_us", .unit = "us", .fair = "CPU time added to making and joining a thread that makes three calls"},
                  Added([&] { return counted.Run(short_threads).cpu_ns; }, [&] { counted.WaitIdle(); return Run(short_threads).cpu_ns; }, threads * 1e3));
  harness.Measure({.metric = "lost_events", .unit = "events"}, [&] { return std::vector<double>{static_cast<double>(counted.lost())}; });
  return 0;
}
