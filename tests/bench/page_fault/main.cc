// Paging alone: an unmodified program at a quarter of its memory, pages kept in this process's memory (no network).
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "tests/bench/harness.h"
#include "tests/bench/page_fault/bare_floor.h"
#include "tests/support/paged_program.h"

namespace ashlar::bench {
namespace {

constexpr std::size_t kPages = 16384;  // 64 MiB

struct Walk {
  std::vector<double> times_us;
  double move_us_per_page = 0;
};

// The data path is checked while it is timed: a wrong byte ends the benchmark.
Walk RunWalker(const char* mode, std::size_t count) {
  UniqueFd out(memfd_create("times", MFD_CLOEXEC));
  pnode::PagedProgram::Options options;
  options.limit_bytes = kPages * kPageBytes / 4;
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
  walk.times_us.resize(static_cast<std::size_t>(lseek(out.get(), 0, SEEK_END)) / sizeof(double));
  if (pread(out.get(), walk.times_us.data(), walk.times_us.size() * sizeof(double), 0) < 0) std::exit(1);
  HistogramSnapshot moves = (*program)->counters().move_ns.Snapshot();
  walk.move_us_per_page =
      static_cast<double>(moves.sum) / 1e3 / static_cast<double>((*program)->counters().evicted_pages.value() + 1);
  return walk;
}

// Of all random accesses the ones that left the program: the others find their page.
std::vector<double> Misses(std::size_t accesses) {
  std::vector<double> misses;
  for (double time : RunWalker("random", accesses).times_us) {
    if (time > 2) misses.push_back(time);
  }
  return misses;
}

// The first scan comes after the fill, the others find the cache in their own state.
std::vector<double> Scans(const char* mode, std::size_t scans) {
  std::vector<double> times = RunWalker(mode, scans + 1).times_us;
  times.erase(times.begin());
  return times;
}

}  // namespace
}  // namespace ashlar::bench

int main(int argc, char** argv) {
  using namespace ashlar::bench;
  Harness harness("page_fault", argc, argv);
  if (absl::Status rights = ashlar::pnode::ProbePagingRights(); !rights.ok()) {
    for (const char* metric : {"miss_random", "scan_read_25", "scan_write_25", "evict_page"}) {
      harness.Skip({.metric = metric, .unit = "us"}, std::string(rights.message()));
    }
    return 0;
  }
  std::size_t accesses = harness.quick() ? 20'000 : 60'000;
  std::size_t scans = harness.quick() ? 2 : 4;
  harness.Compare({.metric = "miss_random", .unit = "us", .floor = "bare userfaultfd handler, blocking read",
                   .fair = "ours also evicts a page for each that comes; neither crosses a network"},
                  [&] { return Misses(accesses); }, [&] { return BareFaults(20'000); });
  harness.Measure({.metric = "scan_read_25", .unit = "us", .fair = "per page, no network; zram is not measured beside it"},
                  [&] { return Scans("scan_read", scans); });
  harness.Measure({.metric = "scan_write_25", .unit = "us", .fair = "per page, no network; zram is not measured beside it"},
                  [&] { return Scans("scan_write", scans); });
  harness.Compare({.metric = "evict_page", .unit = "us", .floor = "one MOVE of 64 neighbours in the own process",
                   .fair = "ours includes the call of the helper, the copy into the slot, and the way back"},
                  [&] { return std::vector<double>{RunWalker("scan_write", 2).move_us_per_page}; },
                  [&] { return BareMoves(200); });
  return 0;
}
