// Writes and verifies pages at random without remapping anything, and says how long the longest accesses took: what a
// program feels of a node's death.
//
// usage: pause_meter MIB SECONDS THREADS SEED
// Prints one line: `accesses=… wrong=… pauses=N max_ms=… list_ms=a,b,c`, of accesses over 50 ms. Exit 0: nothing was wrong.
// A page holds its number and a counter at both ends; what it must hold stands in shared memory, which is never remote.
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::size_t kPageBytes = 4096, kWords = kPageBytes / sizeof(std::uint64_t);
constexpr auto kPause = std::chrono::milliseconds(50);

std::uint64_t* Map(std::size_t bytes, int flags) {
  void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::perror("mmap"), std::exit(2);
  return static_cast<std::uint64_t*>(memory);
}

struct Totals {
  std::atomic<std::uint64_t> accesses{0}, wrong{0};
  std::mutex mutex;
  std::vector<double> pauses_ms;
};

void Work(std::uint64_t* pages, std::uint64_t* expected, std::size_t first, std::size_t count, std::uint64_t seed,
          Clock::time_point end, Totals& totals) {
  std::mt19937_64 random(seed);
  for (std::uint64_t n = 0;; ++n) {
    const auto begin = Clock::now();
    if (begin >= end) break;
    const std::size_t page = first + random() % count;
    std::uint64_t* const words = pages + page * kWords;
    const std::uint64_t counter = expected[page];
    const bool right = counter == 0 ? words[0] == 0 && words[kWords - 1] == 0
                                    : words[0] == (page << 32 | counter) && words[kWords - 1] == ~words[0];
    if (!right) {
      totals.wrong++;
      std::fprintf(stderr, "WRONG page %zu: counter %llu expected, found %016llx %016llx\n", page, static_cast<unsigned long long>(counter),
                   static_cast<unsigned long long>(words[0]), static_cast<unsigned long long>(words[kWords - 1]));
    }
    words[0] = page << 32 | (counter + 1);
    words[kWords - 1] = ~words[0];
    expected[page] = counter + 1;
    totals.accesses++;
    const auto took = Clock::now() - begin;
    if (took < kPause) continue;
    const std::lock_guard lock(totals.mutex);
    totals.pauses_ms.push_back(std::chrono::duration<double, std::milli>(took).count());
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return std::fprintf(stderr, "usage: pause_meter MIB SECONDS THREADS SEED\n"), 64;
  const std::size_t pages = std::strtoull(argv[1], nullptr, 10) << 8;
  const std::size_t threads = std::max<std::size_t>(1, std::strtoull(argv[3], nullptr, 10));
  const auto end = Clock::now() + std::chrono::seconds(std::strtoull(argv[2], nullptr, 10));
  std::uint64_t* const memory = Map(pages * kPageBytes, MAP_PRIVATE);
  std::uint64_t* const expected = Map(pages * sizeof(std::uint64_t), MAP_SHARED);
  Totals totals;
  std::vector<std::thread> workers;
  for (std::size_t i = 0; i < threads; ++i)
    workers.emplace_back(Work, memory, expected, i * (pages / threads), pages / threads, std::strtoull(argv[4], nullptr, 10) + i, end, std::ref(totals));
  for (std::thread& worker : workers) worker.join();
  double longest = 0;
  for (double ms : totals.pauses_ms) longest = std::max(longest, ms);
  std::printf("accesses=%llu wrong=%llu pauses=%zu max_ms=%.0f list_ms=", static_cast<unsigned long long>(totals.accesses.load()),
              static_cast<unsigned long long>(totals.wrong.load()), totals.pauses_ms.size(), longest);
  for (std::size_t i = 0; i < totals.pauses_ms.size(); ++i) std::printf("%s%.0f", i == 0 ? "" : ",", totals.pauses_ms[i]);
  std::printf("\n");
  return totals.wrong == 0 ? 0 : 1;
}
