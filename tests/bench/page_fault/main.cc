// Paging alone: an unmodified program at a quarter of its memory, pages kept in this process's memory (no network).
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tests/bench/harness.h"
#include "tests/bench/page_fault/bare_floor.h"
#include "tests/support/paged_program.h"

namespace ashlar::bench {
namespace {

constexpr std::size_t kPages = 16384;  // 64 MiB

constexpr std::size_t kLimitBytes = kPages * kPageBytes / 4;

struct Walk {
  std::vector<double> times_us;
  double move_us_per_page = 0;
};

std::vector<double> ReadTimes(int file) {
  std::vector<double> times(static_cast<std::size_t>(lseek(file, 0, SEEK_END)) / sizeof(double));
  if (pread(file, times.data(), times.size() * sizeof(double), 0) < 0) std::exit(1);
  return times;
}

// The same program under the kernel's swap on zram, in a memory cgroup of the same size. Empty: not on this machine.
std::vector<double> ZramTimes(const char* mode, std::size_t count) {
  UniqueFd out(memfd_create("times", MFD_CLOEXEC));
  pid_t child = fork();
  if (child == 0) {
    execl(ASHLAR_ZRAM_CAPPED, ASHLAR_ZRAM_CAPPED, absl::StrCat(kLimitBytes).c_str(), "--", ASHLAR_PAGE_WALKER,
          absl::StrCat("/proc/", getppid(), "/fd/", out.get()).c_str(), mode, absl::StrCat(kPages).c_str(),
          absl::StrCat(count).c_str(), nullptr);
    _exit(127);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) return {};
  return ReadTimes(out.get());
}

// The data path is checked while it is timed: a wrong byte ends the benchmark.
Walk RunWalker(const char* mode, std::size_t count) {
  UniqueFd out(memfd_create("times", MFD_CLOEXEC));
  pnode::PagedProgram::Options options;
  options.limit_bytes = kLimitBytes;
  auto program = pnode::PagedProgram::Start({ASHLAR_PAGE_WALKER, absl::StrCat("/proc/", getpid(), "/fd/", out.get()), mode,
                                             absl::StrCat(kPages), absl::StrCat(count)},
                                            options);
  if (!program.ok()) {
    std::fprintf(stderr, "page_fault: %s\n", std::string(program.status().message()).c_str());
    std::exit(1);
  }
  int status = (*program)->Wait();
  if (status != 0) {
    std::fprintf(stderr, "page_fault: the program read wrong bytes or died: wait status %d %s\n", status,
                 (*program)->killed_reason().c_str());
    std::exit(1);
  }
  Walk walk;
  walk.times_us = ReadTimes(out.get());
  HistogramSnapshot moves = (*program)->counters().move_ns.Snapshot();
  walk.move_us_per_page =
      static_cast<double>(moves.sum) / 1e3 / static_cast<double>((*program)->counters().evicted_pages.value() + 1);
  return walk;
}

// Of all random accesses the ones that left the program: the others find their page.
std::vector<double> Misses(const std::vector<double>& accesses) {
  std::vector<double> misses;
  for (double time : accesses) {
    if (time > 2) misses.push_back(time);
  }
  return misses;
}
std::vector<double> P99(const std::vector<double>& times) { return {Summarize(times).p99}; }

// The first scan comes after the fill, the others find the cache in their own state.
std::vector<double> WithoutFirst(std::vector<double> times) {
  times.erase(times.begin());
  return times;
}

constexpr const char* kZram = "swap on zram, same cap";
constexpr const char* kZramFair = "zram has no second process and keeps no copy anywhere, but it compresses; ours crosses no network here";

void CompareWithZram(Harness& harness, std::size_t accesses, std::size_t scans) {
  if (ZramTimes("random", 100).empty()) {
    for (const char* metric : {"miss_random_vs_zram_p99", "scan_read_25", "scan_write_25"}) {
      harness.Skip({.metric = metric, .unit = "us", .floor = kZram}, "no zram or memory cgroup to be had here (see stderr)");
    }
    return;
  }
  harness.Compare({.metric = "miss_random_vs_zram_p99", .unit = "us", .floor = kZram, .fair = kZramFair},
                  [&] { return P99(Misses(RunWalker("random", accesses).times_us)); },
                  [&] { return P99(Misses(ZramTimes("random", accesses))); });
  for (const auto& [metric, mode] : {std::pair{"scan_read_25", "scan_read"}, {"scan_write_25", "scan_write"}}) {
    harness.Compare({.metric = metric, .unit = "us", .floor = kZram, .fair = kZramFair},
                    [&] { return WithoutFirst(RunWalker(mode, scans + 1).times_us); },
                    [&] { return WithoutFirst(ZramTimes(mode, scans + 1)); });
  }
}

}  // namespace
}  // namespace ashlar::bench

int main(int argc, char** argv) {
  using namespace ashlar::bench;
  Harness harness("page_fault", argc, argv);
  if (absl::Status rights = ashlar::pnode::ProbePagingRights(); !rights.ok()) {
    for (const char* metric : {"miss_random", "miss_random_vs_zram_p99", "scan_read_25", "scan_write_25", "evict_page"}) {
      harness.Skip({.metric = metric, .unit = "us"}, std::string(rights.message()));
    }
    return 0;
  }
  std::size_t accesses = harness.quick() ? 20'000 : 60'000;
  std::size_t scans = harness.quick() ? 2 : 4;
  harness.Compare({.metric = "miss_random", .unit = "us", .floor = "bare userfaultfd handler, blocking read",
                   .fair = "ours also evicts a page for each that comes; neither crosses a network"},
                  [&] { return Misses(RunWalker("random", accesses).times_us); }, [&] { return BareFaults(20'000); });
  CompareWithZram(harness, accesses, scans);
  harness.Compare({.metric = "evict_page", .unit = "us", .floor = "one MOVE of 64 neighbours in the own process",
                   .fair = "ours includes the call of the helper, the copy into the slot, and the way back"},
                  [&] { return std::vector<double>{RunWalker("scan_write", 2).move_us_per_page}; },
                  [&] { return BareMoves(200); });
  return 0;
}
