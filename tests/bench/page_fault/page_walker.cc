// An unmodified program that times its own accesses: page_walker OUT random|scan_read|scan_write PAGES COUNT
// OUT receives doubles, microseconds: of each random access, or per page of each scan. Exit 1 on a wrong byte.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <vector>

namespace {

double NowUs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) return 64;
  size_t pages = strtoul(argv[3], nullptr, 10), count = strtoul(argv[4], nullptr, 10);
  auto* memory = static_cast<uint8_t*>(
      mmap(nullptr, pages * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  auto word = [&](size_t page) { return reinterpret_cast<volatile uint64_t*>(memory + page * 4096); };
  usleep(50000);  // until it is adopted, as the memory of a long-running program is
  for (size_t page = 0; page < pages; ++page) {
    for (size_t i = 0; i < 512; ++i) word(page)[i] = page * 512 + i + 1;
  }
  std::vector<double> times;
  bool write = strcmp(argv[2], "scan_write") == 0;
  if (strcmp(argv[2], "random") == 0) {
    uint64_t state = 88172645463325252ull;
    for (size_t i = 0; i < count; ++i) {
      state ^= state << 13, state ^= state >> 7, state ^= state << 17;
      size_t page = state % pages;
      double before = NowUs();
      uint64_t have = word(page)[7];
      times.push_back(NowUs() - before);
      if (have != page * 512 + 8) return 1;
    }
  } else {
    for (size_t scan = 0; scan < count; ++scan) {
      double before = NowUs();
      for (size_t page = 0; page < pages; ++page) {
        uint64_t sum = 0;
        if (write) {
          for (size_t i = 0; i < 512; i += 8) word(page)[i] = word(page)[i] + 1;
        } else {
          for (size_t i = 0; i < 512; ++i) sum += word(page)[i];
          if (sum != 512 * (page * 512 + 1) + 511 * 256) return 1;
        }
      }
      times.push_back((NowUs() - before) / static_cast<double>(pages));
    }
    if (write && *word(5) != 5 * 512 + 1 + count) return 1;
  }
  int out = open(argv[1], O_WRONLY);
  ssize_t size = static_cast<ssize_t>(times.size() * sizeof(double));
  return ::write(out, times.data(), static_cast<size_t>(size)) == size ? 0 : 2;
}
