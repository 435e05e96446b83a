// The lost-update stress on a real kernel: an unmodified program at a quarter of its memory, every byte checked.
//   paging_stress_test                      the suite's five seconds
//   paging_stress_test --seconds 60 --writers 4 --seed 7 [--parts fmt]
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/support/paged_program.h"
#include "tests/support/run_tests.h"

namespace ashlar::pnode {
namespace {

double seconds = 5;
int writers = 4;
long pages = 8192;
unsigned long seed = 1;
std::string parts = "fmt";

TEST(PagingStress, NoUpdateIsEverLost) {
  if (absl::Status rights = ProbePagingRights(); !rights.ok()) GTEST_SKIP() << rights;
  PagedProgram::Options options;
  options.limit_bytes = static_cast<std::uint64_t>(pages) * kPageBytes / 4 + (8 << 20);
  std::uint64_t state = seed;
  options.store_faults.fetch_delay_ns = [&state] {  // now and then an answer is late
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (state >> 60) == 0 ? 300'000 : 0;
  };
  options.store_faults.write_delay_ns = [&state] {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (state >> 60) * 50'000;
  };
  auto program = PagedProgram::Start({absl::StrCat(ASHLAR_TEST_PROGRAMS, "/memory_stress"), absl::StrCat(seconds),
                                      absl::StrCat(writers), absl::StrCat(pages), absl::StrCat(seed), parts},
                                     options);
  ASSERT_TRUE(program.ok()) << program.status();
  alarm(static_cast<unsigned>(seconds) + 60);  // a hang is a failure
  int status = (*program)->Wait();
  alarm(0);
  const ProgramCounters& counters = (*program)->counters();
  EXPECT_EQ((*program)->killed_reason(), "");
  EXPECT_EQ((*program)->store_violation(), "");
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "wait status " << status;
  EXPECT_GT(counters.evicted_pages.value(), 1000u);
  EXPECT_GT(counters.fetched_pages.value(), 1000u);
  StatList stats;
  counters.CollectStats(stats, "");
  for (const Stat& stat : stats.values) printf("%s{%s}=%lu ", stat.name.c_str(), stat.labels.c_str(), stat.value);
  printf("\n");
  for (const HistogramStat& stat : stats.histograms) {
    printf("%s n=%lu p50=%lu p99=%lu max=%lu\n", stat.name.c_str(), stat.snapshot.count, stat.snapshot.Quantile(0.5),
           stat.snapshot.Quantile(0.99), stat.snapshot.max);
  }
}

}  // namespace
}  // namespace ashlar::pnode

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string flag = argv[i];
    if (flag == "--seconds") ashlar::pnode::seconds = std::atof(argv[i + 1]);
    if (flag == "--writers") ashlar::pnode::writers = std::atoi(argv[i + 1]);
    if (flag == "--pages") ashlar::pnode::pages = std::atol(argv[i + 1]);
    if (flag == "--seed") ashlar::pnode::seed = std::strtoul(argv[i + 1], nullptr, 10);
    if (flag == "--parts") ashlar::pnode::parts = argv[i + 1];
  }
  return ashlar::RunTests();
}
