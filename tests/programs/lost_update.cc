// lost_update MIB SECONDS THREADS SEED [CHANGES]: finds lost or wrong bytes in its own anonymous memory while everything that can
// happen to an address space happens. Nothing of Ashlar is in it: it must pass on plain memory too.
//
// Every page holds 8 cells. A cell's value is a function of (page, cell, how often it was written); the counts are kept in a
// MAP_SHARED shadow that no pager of private memory touches. An access verifies all cells of a page that belong to the
// thread and rewrites one. Half of the memory is shared by all threads (cell c belongs to thread c mod THREADS), so that
// pages are written while others write them; half is private chunks whose mappings are dropped, moved, cut, protected.
//
// CHANGES: how many of 1000 steps change a mapping, 16 if not given. With many, threads get the places that others have just
// left, and the order of the kernel's events is put to the test.
//
// Exit: 0 and one line of counts, or 1 and the first wrong cell.
#include <sys/mman.h>
#include <sys/wait.h>
#include <spawn.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

extern char** environ;

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kCells = 8;
constexpr std::size_t kCellWords = kPage / 8 / kCells;
constexpr std::size_t kChunkPages = 64;
constexpr std::uint64_t kMark = 0x4d61726b4d61726b;

using Clock = std::chrono::steady_clock;
using Counts = std::uint32_t[kCells];

std::atomic<bool> stop{false};
std::atomic<std::uint64_t> accesses, dropped, freed, moved, replaced, protected_, forks, spawns, threads_made;

struct Random {
  std::uint64_t state;
  std::uint64_t operator()() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1DULL;
  }
};

std::uint64_t ValueOf(std::uint64_t page_name, std::size_t cell, std::uint32_t count) {
  if (count == 0) return 0;
  std::uint64_t x = page_name * 0x9E3779B97F4A7C15ULL ^ (cell << 56) ^ count;
  x ^= x >> 31;
  return (x * 0xBF58476D1CE4E5B9ULL) | 1;
}

[[noreturn]] void Wrong(const char* where, const void* address, std::size_t cell, std::uint64_t got, std::uint64_t wanted) {
  std::fprintf(stderr, "WRONG BYTES %s address=%p cell=%zu got=%016llx wanted=%016llx pid=%d\n", where, address, cell,
               static_cast<unsigned long long>(got), static_cast<unsigned long long>(wanted), getpid());
  _exit(1);
}

// A cell's first and last word carry its value, so that a page mixed from two versions shows.
void CheckCell(const char* where, volatile std::uint64_t* page, std::uint64_t name, std::size_t cell, std::uint32_t count) {
  const std::uint64_t wanted = ValueOf(name, cell, count);
  for (std::size_t word : {cell * kCellWords, cell * kCellWords + kCellWords - 1})
    if (page[word] != wanted) Wrong(where, const_cast<std::uint64_t*>(page + word), cell, page[word], wanted);
}

void WriteCell(volatile std::uint64_t* page, std::uint64_t name, std::size_t cell, std::uint32_t count) {
  page[cell * kCellWords] = ValueOf(name, cell, count);
  page[cell * kCellWords + kCellWords - 1] = ValueOf(name, cell, count);
}

template <typename T>
T* Map(std::size_t bytes, int how) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, how | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) std::perror("mmap"), _exit(2);
  return static_cast<T*>(address);
}

// Pages that all threads use, each its own cells.
struct SharedPages {
  std::size_t pages;
  std::uint64_t* memory;
  Counts* counts;
};

// A mapping of one thread, with a name that its pages' values come from.
struct Chunk {
  std::uint64_t* memory;
  Counts* counts;
  std::uint64_t name;
  bool cut = false;  // may consist of several mappings
};

class Worker {
 public:
  Worker(SharedPages shared, std::size_t index, std::size_t workers, std::size_t chunks, std::uint64_t seed, std::uint64_t changes)
      : shared_(shared), index_(index), workers_(workers), changes_(changes), random_{seed * 7919 + index * 104729 + 1} {
    auto* counts = Map<Counts>(chunks * kChunkPages * sizeof(Counts), MAP_SHARED);
    for (std::size_t i = 0; i < chunks; ++i)
      chunks_.push_back({Map<std::uint64_t>(kChunkPages * kPage, MAP_PRIVATE), counts + i * kChunkPages, (index << 32) + i * kChunkPages + 1});
  }

  void Run() {
    Clock::time_point next_fork = Clock::now() + std::chrono::milliseconds(50 * (index_ + 1));
    while (!stop.load(std::memory_order_relaxed)) {
      const std::uint64_t dice = random_() % 1000;
      if (dice < 450) {
        AccessShared(random_() % shared_.pages);
      } else if (dice < 850) {
        AccessChunk(AnyChunk(), random_() % kChunkPages);
      } else if (dice < 996 - changes_) {
        Scan(AnyChunk());
      } else if (dice < 996) {
        ChangeMapping(AnyChunk());
      } else {
        ShortThread();
      }
      if (Clock::now() >= next_fork) {
        random_() % 4 == 0 ? Spawn() : ForkAndVerify();
        next_fork = Clock::now() + std::chrono::milliseconds(200 + random_() % 200);
      }
    }
    for (Chunk& chunk : chunks_) Scan(chunk);
  }

 private:
  Chunk& AnyChunk() { return chunks_[random_() % chunks_.size()]; }

  void AccessShared(std::size_t page) {
    volatile std::uint64_t* words = shared_.memory + page * kPage / 8;
    for (std::size_t cell = index_; cell < kCells; cell += workers_)
      CheckCell("shared", words, page, cell, shared_.counts[page][cell]);
    const std::size_t cell = index_ + workers_ * (random_() % ((kCells - index_ + workers_ - 1) / workers_));
    WriteCell(words, page, cell, ++shared_.counts[page][cell]);
    accesses.fetch_add(1, std::memory_order_relaxed);
  }

  void AccessChunk(Chunk& chunk, std::size_t page) {
    volatile std::uint64_t* words = chunk.memory + page * kPage / 8;
    CheckPage(chunk, page);
    const std::size_t cell = random_() % kCells;
    WriteCell(words, chunk.name + page, cell, ++chunk.counts[page][cell]);
    accesses.fetch_add(1, std::memory_order_relaxed);
  }

  static void CheckPage(const Chunk& chunk, std::size_t page) {
    for (std::size_t cell = 0; cell < kCells; ++cell)
      CheckCell("private", chunk.memory + page * kPage / 8, chunk.name + page, cell, chunk.counts[page][cell]);
  }

  void Scan(Chunk& chunk) {
    for (std::size_t page = 0; page < kChunkPages; ++page) CheckPage(chunk, page);
    accesses.fetch_add(kChunkPages, std::memory_order_relaxed);
  }

  void Forget(Chunk& chunk, std::size_t first, std::size_t count) {
    for (std::size_t page = first; page < first + count; ++page) std::fill_n(chunk.counts[page], kCells, 0);
  }

  void ChangeMapping(Chunk& chunk) {
    const std::size_t first = random_() % kChunkPages;
    const std::size_t count = 1 + random_() % (kChunkPages - first);
    char* const begin = reinterpret_cast<char*>(chunk.memory) + first * kPage;
    switch (random_() % 6) {
      case 0:
        if (madvise(begin, count * kPage, MADV_DONTNEED) == 0) Forget(chunk, first, count);
        ++dropped;
        break;
      case 1:
        FreeLazily(chunk, begin, first, count);
        break;
      case 2: {  // move to another address; the bytes go along
        Move(chunk);
        break;
      }
      case 3:  // something new at the old place
        if (mmap(begin, count * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
          std::perror("mmap fixed"), _exit(2);
        chunk.cut = true;
        Forget(chunk, first, count);
        ++replaced;
        break;
      case 4:  // gone, then mapped anew wherever the kernel likes
        munmap(chunk.memory, kChunkPages * kPage);
        Renew(chunk);
        ++replaced;
        break;
      default:
        if (mprotect(begin, count * kPage, PROT_READ) != 0) std::perror("mprotect"), _exit(2);
        for (std::size_t page = first; page < first + count; ++page) CheckPage(chunk, page);
        if (mprotect(begin, count * kPage, PROT_READ | PROT_WRITE) != 0) std::perror("mprotect"), _exit(2);
        ++protected_;
    }
  }

  void Renew(Chunk& chunk) {
    chunk.memory = Map<std::uint64_t>(kChunkPages * kPage, MAP_PRIVATE);
    chunk.cut = false;
    Forget(chunk, 0, kChunkPages);
  }

  // Of several mappings kernels move none, all, or (since 6.17, with a userfaultfd) those before the first that they refuse.
  void Move(Chunk& chunk) {
    auto* target = Map<std::uint64_t>(kChunkPages * kPage, MAP_PRIVATE);
    for (std::size_t page = 0; chunk.cut && page < kChunkPages; ++page) target[page * kPage / 8] = kMark;
    void* at = mremap(chunk.memory, kChunkPages * kPage, kChunkPages * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, target);
    if (at != MAP_FAILED) {
      chunk.memory = static_cast<std::uint64_t*>(at);
      ++moved;
      return;
    }
    if (errno != EFAULT || !chunk.cut) std::perror("mremap"), _exit(2);
    std::size_t gone = 0;
    while (gone < kChunkPages && target[gone * kPage / 8] != kMark) ++gone;
    munmap(target, kChunkPages * kPage);
    if (gone == 0) return;
    munmap(reinterpret_cast<char*>(chunk.memory) + gone * kPage, (kChunkPages - gone) * kPage);
    Renew(chunk);
  }

  // After MADV_FREE a page is whole or all zero until it is written; a write makes it stay.
  void FreeLazily(Chunk& chunk, char* begin, std::size_t first, std::size_t count) {
    if (madvise(begin, count * kPage, MADV_FREE) != 0) return;
    for (std::size_t page = first; page < first + count; ++page) {
      volatile std::uint64_t* words = chunk.memory + page * kPage / 8;
      WriteCell(words, chunk.name + page, 0, ++chunk.counts[page][0]);
      bool lost = true;
      for (std::size_t cell = 1; cell < kCells; ++cell) lost = lost && words[cell * kCellWords] == 0;
      if (lost) std::fill_n(chunk.counts[page] + 1, kCells - 1, 0);
      CheckPage(chunk, page);
    }
    ++freed;
  }

  // The child sees what the parent's memory was at this moment, also while the parent goes on writing.
  void ForkAndVerify() {
    const pid_t child = fork();
    if (child < 0) return;
    if (child == 0) {
      // The shadow is shared with the parent, whose thread waits in waitpid: the counts of its own cells stand still.
      for (int i = 0; i < 64; ++i) {
        const std::size_t page = random_() % shared_.pages;
        for (std::size_t cell = index_; cell < kCells; cell += workers_)
          CheckCell("child, shared", shared_.memory + page * kPage / 8, page, cell, shared_.counts[page][cell]);
        CheckPage(AnyChunk(), random_() % kChunkPages);
      }
      _exit(0);
    }
    WaitFor(child);
    ++forks;
  }

  void Spawn() {
    char program[] = "/bin/true";
    char* const arguments[] = {program, nullptr};
    pid_t child = 0;
    if (posix_spawn(&child, program, nullptr, nullptr, arguments, environ) != 0) return;
    WaitFor(child);
    ++spawns;
  }

  static void WaitFor(pid_t child) {
    int status = 0;
    if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      std::fprintf(stderr, "WRONG CHILD pid=%d status=%x\n", child, status);
      _exit(1);
    }
  }

  void ShortThread() {
    std::thread([this] {
      volatile char stack[3 * kPage];
      for (std::size_t i = 0; i < sizeof(stack); i += kPage / 2) stack[i] = static_cast<char>(i);
      Scan(AnyChunk());
      for (std::size_t i = 0; i < sizeof(stack); i += kPage / 2)
        if (stack[i] != static_cast<char>(i)) Wrong("stack", const_cast<char*>(stack + i), 0, 0, 0);
    }).join();
    ++threads_made;
  }

  SharedPages shared_;
  std::size_t index_, workers_;
  std::uint64_t changes_;
  Random random_;
  std::vector<Chunk> chunks_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5 && argc != 6) return std::fprintf(stderr, "usage: lost_update MIB SECONDS THREADS SEED [CHANGES]\n"), 64;
  const std::size_t pages = std::strtoull(argv[1], nullptr, 10) * 256;
  const auto seconds = std::chrono::seconds(std::strtoull(argv[2], nullptr, 10));
  const std::size_t workers = std::clamp<std::size_t>(std::strtoull(argv[3], nullptr, 10), 1, kCells);
  const std::uint64_t seed = std::strtoull(argv[4], nullptr, 10);
  const std::uint64_t changes = std::min<std::uint64_t>(argc == 6 ? std::strtoull(argv[5], nullptr, 10) : 16, 146);

  const SharedPages shared = {pages / 2, Map<std::uint64_t>(pages / 2 * kPage, MAP_PRIVATE), Map<Counts>(pages / 2 * sizeof(Counts), MAP_SHARED)};
  const std::size_t chunks = std::max<std::size_t>(1, pages / 2 / workers / kChunkPages);
  std::vector<Worker> state;
  for (std::size_t i = 0; i < workers; ++i) state.emplace_back(shared, i, workers, chunks, seed, changes);
  std::vector<std::thread> threads;
  for (Worker& worker : state) threads.emplace_back([&worker] { worker.Run(); });
  std::this_thread::sleep_for(seconds);
  stop = true;
  for (std::thread& thread : threads) thread.join();
  std::printf("verified accesses=%llu dontneed=%llu free=%llu mremap=%llu remapped=%llu mprotect=%llu forks=%llu spawns=%llu threads=%llu lost=0\n",
              static_cast<unsigned long long>(accesses), static_cast<unsigned long long>(dropped), static_cast<unsigned long long>(freed),
              static_cast<unsigned long long>(moved), static_cast<unsigned long long>(replaced), static_cast<unsigned long long>(protected_),
              static_cast<unsigned long long>(forks), static_cast<unsigned long long>(spawns), static_cast<unsigned long long>(threads_made));
  return 0;
}
