// A program that knows nothing of Ashlar and trusts no byte of its memory: many threads write counters into pages, each
// access is verified against a shadow in shared memory (which is never managed), and around them the map changes in every
// way a program can change it. Prints one line of counts; exit 1 and a message at the first wrong byte.
//
//   memory_stress SECONDS WRITERS PAGES SEED
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace {

constexpr size_t kPage = 4096;

struct Counts {
  std::atomic<uint64_t> accesses, lost, drops, remaps, unmaps, protects, forks, execs, threads;
};
Counts* counts;
std::atomic<bool>* stop;

template <typename T>
T* Shared(size_t count) {
  void* memory = mmap(nullptr, count * sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) abort();
  return static_cast<T*>(memory);
}

uint8_t* Private(size_t pages) {
  void* memory = mmap(nullptr, pages * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) abort();
  return static_cast<uint8_t*>(memory);
}

uint64_t NowNs() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000 + static_cast<uint64_t>(t.tv_nsec);
}

struct Random {
  uint64_t state;
  uint64_t Next() {
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
  }
  uint64_t Below(uint64_t n) { return Next() % n; }
};

[[noreturn]] void Die(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  abort();
}

void Lost(const char* what, size_t page, uint64_t have, uint64_t want) {
  if (counts->lost.fetch_add(1) < 5) {
    fprintf(stderr, "LOST %s page=%zu have=%lu want=%lu\n", what, page, static_cast<unsigned long>(have),
            static_cast<unsigned long>(want));
  }
  stop->store(true);
}

// Each writer owns one word of every page of the common region; neighbours write the other words of the same pages.
void CommonWriter(uint8_t* region, uint32_t* shadow, size_t pages, unsigned writer, uint64_t seed) {
  Random random{seed};
  uint64_t done = 0;
  while (!stop->load(std::memory_order_relaxed)) {
    size_t start = random.Below(pages);
    size_t length = random.Below(16) == 0 ? 64 : 1;  // now and then a walk
    for (size_t i = 0; i < length; ++i) {
      size_t page = (random.Below(4) != 0 && length == 1) ? random.Below(pages / 8) : (start + i) % pages;
      auto* word = reinterpret_cast<volatile uint32_t*>(region + page * kPage + writer * 256 + (page % 64) * 4);
      uint32_t have = *word;
      if (have != shadow[page]) return Lost("common", page, have, shadow[page]);
      if (random.Below(3) != 0) {
        *word = have + 1;
        shadow[page] = have + 1;
      }
      ++done;
    }
    if (done >= 256) {
      counts->accesses.fetch_add(done);
      done = 0;
    }
  }
  counts->accesses.fetch_add(done);
}

// One thread alone with its region, so that it knows what each page holds through every change of the map. With holes the
// region is several mappings, which the kernel moves only one by one if a userfaultfd watches them: so page by page.
void MapChanger(size_t pages, bool holes, uint64_t seed) {
  Random random{seed};
  uint8_t* region = Private(pages);
  auto* shadow = Shared<uint32_t>(pages);
  uint64_t done = 0;
  auto word = [&](size_t page) { return reinterpret_cast<volatile uint32_t*>(region + page * kPage + (page % 512) * 8); };
  while (!stop->load(std::memory_order_relaxed)) {
    for (int i = 0; i < 64; ++i) {
      size_t page = random.Below(pages);
      uint32_t have = *word(page);
      if (have != shadow[page]) return Lost("changer", page, have, shadow[page]);
      if (random.Below(2) != 0) *word(page) = ++shadow[page];
      ++done;
    }
    size_t first = random.Below(pages);
    size_t count = 1 + random.Below(pages - first < 24 ? pages - first : 24);
    switch (random.Below(24)) {
      default: {
        int advice = random.Below(4) == 0 ? MADV_REMOVE : MADV_DONTNEED;
        if (madvise(region + first * kPage, count * kPage, advice) != 0) {
          madvise(region + first * kPage, count * kPage, MADV_DONTNEED);  // REMOVE is for shared memory only
        }
        memset(shadow + first, 0, count * 4);
        counts->drops.fetch_add(1);
        break;
      }
      case 0: {  // the whole region moves
        uint8_t* place = static_cast<uint8_t*>(mmap(nullptr, pages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
        size_t piece = holes ? 1 : pages;
        for (size_t page = 0; page < pages; page += piece) {
          void* moved = mremap(region + page * kPage, piece * kPage, piece * kPage, MREMAP_MAYMOVE | MREMAP_FIXED,
                               place + page * kPage);
          if (moved == MAP_FAILED) Die("mremap");
        }
        region = place;
        counts->remaps.fetch_add(1);
        break;
      }
      case 1:
      case 2: {  // a hole, and something new in it
        if (!holes) break;
        munmap(region + first * kPage, count * kPage);
        void* place = mmap(region + first * kPage, count * kPage, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
        if (place == MAP_FAILED) {  // another thread took it: move everything somewhere whole
          uint8_t* fresh = Private(pages);
          for (size_t page = 0; page < pages; ++page) {
            if (page >= first && page < first + count) continue;
            *reinterpret_cast<volatile uint32_t*>(fresh + page * kPage + (page % 512) * 8) = *word(page);
          }
          munmap(region, first * kPage);
          munmap(region + (first + count) * kPage, (pages - first - count) * kPage);
          region = fresh;
        }
        memset(shadow + first, 0, count * 4);
        counts->unmaps.fetch_add(1);
        break;
      }
      case 3: {  // read-only for a while
        mprotect(region + first * kPage, count * kPage, PROT_READ);
        for (size_t page = first; page < first + count; ++page) {
          if (*word(page) != shadow[page]) return Lost("protected", page, *word(page), shadow[page]);
        }
        mprotect(region + first * kPage, count * kPage, PROT_READ | PROT_WRITE);
        counts->protects.fetch_add(1);
        break;
      }
      case 4: {  // grows in place or elsewhere, and back
        if (holes) break;
        void* grown = mremap(region, pages * kPage, (pages + 16) * kPage, MREMAP_MAYMOVE);
        if (grown == MAP_FAILED) Die("mremap to grow");
        region = static_cast<uint8_t*>(grown);
        for (size_t page = pages; page < pages + 16; ++page) {
          if (*word(page) != 0) return Lost("grown", page, *word(page), 0);
          *word(page) = 7;
        }
        munmap(region + pages * kPage, 16 * kPage);
        counts->remaps.fetch_add(1);
        break;
      }
    }
    counts->accesses.fetch_add(done);
    done = 0;
  }
}

// A snapshot taken by fork must stay what it was, while the parent goes on writing.
void Forker(size_t pages, uint64_t seed) {
  Random random{seed};
  uint8_t* region = Private(pages);
  auto* shadow = Shared<uint32_t>(pages);
  auto word = [&](size_t page) { return reinterpret_cast<volatile uint32_t*>(region + page * kPage + (page % 512) * 8); };
  while (!stop->load(std::memory_order_relaxed)) {
    for (size_t i = 0; i < pages; ++i) {
      size_t page = random.Below(pages);
      if (*word(page) != shadow[page]) return Lost("forker", page, *word(page), shadow[page]);
      *word(page) = ++shadow[page];
    }
    counts->accesses.fetch_add(pages);
    auto* snapshot = Shared<uint32_t>(pages);
    memcpy(snapshot, shadow, pages * 4);
    bool exec = random.Below(3) == 0;
    bool nested = random.Below(4) == 0;
    pid_t child = fork();
    if (child < 0) abort();
    if (child == 0) {
      if (exec) {
        execl("/bin/true", "true", static_cast<char*>(nullptr));
        _exit(9);
      }
      if (nested) {
        pid_t grandchild = fork();
        if (grandchild != 0) {
          for (size_t page = 0; page < pages; page += 3) *word(page) = 0xdead;
          int status = 0;
          waitpid(grandchild, &status, 0);
          _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 8);
        }
      }
      for (int round = 0; round < 2; ++round) {
        for (size_t page = 0; page < pages; ++page) {
          if (*word(page) != snapshot[page]) {
            fprintf(stderr, "LOST snapshot page=%zu have=%u want=%u\n", page, *word(page), snapshot[page]);
            _exit(7);
          }
        }
        usleep(2000);
      }
      madvise(region, 8 * kPage, MADV_DONTNEED);
      for (size_t page = 0; page < 8; ++page) {
        if (*word(page) != 0) _exit(6);
      }
      for (size_t page = 8; page < pages; ++page) *word(page) = 0xdead;
      _exit(0);
    }
    for (size_t i = 0; i < pages; ++i) {
      size_t page = random.Below(pages);
      if (*word(page) != shadow[page]) return Lost("fork parent", page, *word(page), shadow[page]);
      *word(page) = ++shadow[page];
    }
    int status = 0;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return Lost("child status", 0, static_cast<uint64_t>(status), 0);
    munmap(snapshot, pages * 4);
    (exec ? counts->execs : counts->forks).fetch_add(1);
    usleep(10000);
  }
}

// Threads that live for a moment: their stacks are managed memory, and so is what the kernel writes when they end.
void ThreadChurn() {
  while (!stop->load(std::memory_order_relaxed)) {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([] {
        volatile char stack[32768];
        for (size_t at = 0; at < sizeof(stack); at += 512) stack[at] = static_cast<char>(at >> 9);
        usleep(1000);
        for (size_t at = 0; at < sizeof(stack); at += 512) {
          if (stack[at] != static_cast<char>(at >> 9)) Lost("stack", at, 0, 0);
        }
      });
    }
    for (auto& thread : threads) thread.join();
    counts->threads.fetch_add(4);
    usleep(5000);
  }
}

}  // namespace

int main(int argc, char** argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 5;
  unsigned writers = argc > 2 ? static_cast<unsigned>(atoi(argv[2])) : 4;
  size_t pages = argc > 3 ? static_cast<size_t>(atol(argv[3])) : 8192;
  uint64_t seed = argc > 4 ? strtoull(argv[4], nullptr, 10) : 1;
  bool forks = argc <= 5 || strchr(argv[5], 'f') != nullptr;
  bool changes = argc <= 5 || strchr(argv[5], 'm') != nullptr;
  bool churn = argc <= 5 || strchr(argv[5], 't') != nullptr;
  counts = new (Shared<Counts>(1)) Counts();
  stop = new (Shared<std::atomic<bool>>(1)) std::atomic<bool>(false);
  uint8_t* region = Private(pages);
  std::vector<uint32_t*> shadows;
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < writers; ++i) {
    shadows.push_back(Shared<uint32_t>(pages));
    threads.emplace_back(CommonWriter, region, shadows[i], pages, i, seed * 1000 + i + 1);
  }
  if (changes) threads.emplace_back(MapChanger, pages / 8, false, seed * 1000 + 101);
  if (changes) threads.emplace_back(MapChanger, 256, true, seed * 1000 + 102);
  if (forks) threads.emplace_back(Forker, 512, seed * 1000 + 103);
  if (churn) threads.emplace_back(ThreadChurn);
  uint64_t end_ns = NowNs() + static_cast<uint64_t>(seconds * 1e9);
  while (NowNs() < end_ns && !stop->load()) usleep(20000);
  stop->store(true);
  for (auto& thread : threads) thread.join();
  for (unsigned writer = 0; writer < writers; ++writer) {
    for (size_t page = 0; page < pages; ++page) {
      uint32_t have = *reinterpret_cast<volatile uint32_t*>(region + page * kPage + writer * 256 + (page % 64) * 4);
      if (have != shadows[writer][page]) Lost("final", page, have, shadows[writer][page]);
    }
  }
  printf("accesses=%lu lost=%lu drops=%lu remaps=%lu unmaps=%lu protects=%lu forks=%lu execs=%lu threads=%lu\n",
         counts->accesses.load(), counts->lost.load(), counts->drops.load(), counts->remaps.load(), counts->unmaps.load(),
         counts->protects.load(), counts->forks.load(), counts->execs.load(), counts->threads.load());
  fflush(stdout);
  return counts->lost.load() == 0 ? 0 : 1;
}
