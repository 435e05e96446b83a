// A simulated process: threads that read, write, and change their map, and an oracle of what each page must hold.
//
// Every thread has a region that only it writes and whose map only it changes; all share a common region; and all peek into
// each other's regions, where they may see old or new, but which makes the races. Blocks lie in one arena, where the place
// that one thread's block has left is what the kernel gives to the next. A page's content is one number, written at three
// places of the page.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/sim/paging/sim_mm.h"

namespace ashlar::pnode::sim {

constexpr std::uint64_t kBase = 0x7000'0000'0000;
constexpr std::uint64_t kRegionPages = 72;
constexpr std::uint64_t kRegionSpan = 0x1000'0000;  // addresses per thread, more than it ever uses
constexpr std::uint64_t kArena = kBase + 64 * kRegionSpan;
constexpr std::uint64_t kBlockPages = 3, kBlockBytes = kBlockPages * kPageBytes;
constexpr int kBlocks = 3;  // of each thread
constexpr std::array<std::size_t, 3> kPlaces = {0, 2000, kPageBytes - 8};

class SimProcess {
 public:
  using Random = std::mt19937_64;
  struct Shared {  // of the world
    Random& random;
    std::string& failure;  // first wrong byte
    std::uint64_t& next_value;
    std::vector<std::unique_ptr<SimProcess>>& processes;
    bool with_walker = false;  // thread 0 does nothing but walk through its region
    std::uint64_t accesses = 0;
  };

  SimProcess(Shared& shared, std::shared_ptr<SimMm> mm, int threads) : shared_(shared), mm_(std::move(mm)) {
    for (int i = 0; i < threads; ++i) {
      threads_.push_back(Thread{.id = i, .region = kBase + (static_cast<std::uint64_t>(i) + 1) * kRegionSpan, .cursor = 0});
      Map(threads_.back().region, kRegionPages);
      for (int block = 0; block < kBlocks; ++block) threads_.back().blocks.push_back(MapBlock());
    }
    if (threads > 0) Map(kBase, kRegionPages);
    mm_->on_read = [this](int thread) { RunOnRead(thread); };
  }

  SimMm& mm() { return *mm_; }
  bool dead() const { return mm_->gone; }
  bool idle() const {
    for (const Thread& thread : threads_) {
      if (thread.step != Step::kIdle) return false;
    }
    return true;
  }
  std::uint64_t first_address() const { return threads_[0].region; }

  // Lets a random thread go on. `quiet`: nothing new is begun.
  void RunOne(bool quiet) {
    if (dead()) return;
    Run(threads_[Below(threads_.size())], quiet);
  }
  // Begins the reading of every page; done when idle.
  void StartCheck() {
    for (Thread& thread : threads_) thread.checking = true;
  }
  bool checked() const {
    for (const Thread& thread : threads_) {
      if (thread.checking) return false;
    }
    return true;
  }
  void Exit() {
    mm_->gone = true;
    mm_->waiting.clear();
    mm_->unread_faults.clear();
  }

 private:
  enum class Step : std::uint8_t { kIdle, kAccess, kToAnnounce, kAnnounced, kZap, kAwaitChild, kMapBlock };
  struct Thread {
    int id = 0;
    std::uint64_t region = 0;
    std::uint64_t cursor = 0;  // of a walk
    std::uint64_t begun = 0;   // accesses to the own region
    Step step = Step::kIdle;
    // kAccess
    std::uint64_t address = 0;
    bool write = false, verify = false;
    // changes
    std::vector<MemoryEvent> to_announce; // of the change that was made
    Step then = Step::kIdle;              // when all were read
    AddressRange range;
    bool keep = false;      // FREE: nothing is zapped
    std::size_t block = 0;  // the one that is mapped anew
    std::vector<std::uint64_t> blocks;
    SimProcess* child = nullptr;
    bool checking = false;
    std::uint64_t check_cursor = 0;
  };

  std::uint64_t Below(std::uint64_t n) { return shared_.random() % n; }
  std::uint64_t Skewed() { return Below(Below(2) == 0 ? 8 : kRegionPages); }  // so that threads meet
  void Map(std::uint64_t address, std::uint64_t pages) {
    for (std::uint64_t i = 0; i < pages; ++i) {
      mm_->pages[address + i * kPageBytes] = {};
      truth_[address + i * kPageBytes] = 0;
    }
  }
  // Where the kernel puts it: the first place that is free.
  std::uint64_t MapBlock() {
    std::uint64_t address = kArena;
    while (mm_->pages.contains(address)) address += kBlockBytes;
    Map(address, kBlockPages);
    return address;
  }
  void Fail(const std::string& what) {
    if (shared_.failure.empty()) shared_.failure = what;
  }

  void Run(Thread& thread, bool quiet) {
    if (mm_->Waits(thread.id)) return;
    switch (thread.step) {
      case Step::kIdle:
        if (thread.checking) return BeginCheck(thread);
        if (!quiet) Begin(thread);
        return;
      case Step::kAccess: return Access(thread);
      case Step::kToAnnounce:
        mm_->Announce(std::move(thread.to_announce.front()), thread.id);
        thread.to_announce.erase(thread.to_announce.begin());
        thread.step = Step::kAnnounced;
        return;
      case Step::kAnnounced:
        if (mm_->released.erase(thread.id) == 0) return;
        --mm_->changing;
        thread.step = thread.to_announce.empty() ? thread.then : Step::kToAnnounce;
        return;
      case Step::kZap:
        Zap(thread);
        return;
      case Step::kMapBlock:
        thread.blocks[thread.block] = MapBlock();
        thread.step = Step::kIdle;
        return;
      case Step::kAwaitChild:
        if (thread.child->started_) {
          if (Below(4) != 0 && !quiet && !thread.child->dead()) return;  // the parent goes on in other threads meanwhile
        }
        thread.child->started_ = true;
        thread.child = nullptr;
        thread.step = Step::kIdle;
        return;
    }
  }

  // Phases of some hundred accesses: a walk through the region, or jumping about.
  bool WalksNow(Thread& thread) { return IsWalker(thread) || thread.begun++ / 300 % 2 == 1; }
  bool IsWalker(const Thread& thread) const { return shared_.with_walker && thread.id == 0; }

  void Begin(Thread& thread) {
    if (!started_) return;
    std::uint64_t dice = IsWalker(thread) ? Below(50) : Below(100);
    if (Below(12) == 0) return InArena(thread);
    if (is_child_ && dice >= 97) return Exit();
    if (dice < 50) {  // own region
      std::uint64_t page = WalksNow(thread) ? thread.cursor++ % kRegionPages : Skewed();
      thread.address = thread.region + page * kPageBytes;
      thread.write = Below(2) == 0;
      thread.verify = true;
    } else if (dice < 72) {
      thread.address = kBase + Below(kRegionPages) * kPageBytes;
      thread.write = Below(2) == 0;
      thread.verify = true;
    } else if (dice < 84) {  // a peek
      thread.address = threads_[Below(threads_.size())].region + Skewed() * kPageBytes;
      thread.write = false;
      thread.verify = false;
    } else {
      return BeginChange(thread, dice);
    }
    thread.step = Step::kAccess;
    Access(thread);
  }

  void InArena(Thread& thread) {
    if (is_child_ || Below(4) != 0) {
      if (thread.blocks.empty()) return;
      thread.address = thread.blocks[Below(thread.blocks.size())] + Below(kBlockPages) * kPageBytes;
      thread.write = !is_child_ && Below(2) == 0;
      thread.verify = true;
      thread.step = Step::kAccess;
      return Access(thread);
    }
    thread.block = Below(thread.blocks.size());
    if (Below(2) == 0) {
      std::uint64_t to = MapBlock();
      Move({thread.blocks[thread.block], thread.blocks[thread.block] + kBlockBytes}, to, thread);
      thread.blocks[thread.block] = to;
      return;
    }
    AddressRange range{thread.blocks[thread.block], thread.blocks[thread.block] + kBlockBytes};
    bool registered = mm_->AnyRegistered(range);
    for (std::uint64_t address = range.start; address < range.end; address += kPageBytes) {
      mm_->pages.erase(address);
      truth_.erase(address);
    }
    thread.then = thread.step = Step::kMapBlock;
    if (registered) Announce(thread, MemoryEvent::Kind::kUnmap, range);
  }

  void Queue(Thread& thread, MemoryEvent::Kind kind, AddressRange range, std::uint64_t to) {
    MemoryEvent& event = thread.to_announce.emplace_back();
    event.kind = kind;
    event.range = range;
    event.to = to;
    ++mm_->changing;
  }
  // The change has been made; its event follows, at once or when others have run.
  void Announce(Thread& thread, MemoryEvent::Kind kind, AddressRange range, std::unique_ptr<FaultSource> child = nullptr) {
    Queue(thread, kind, range, 0);
    thread.to_announce.back().child = std::move(child);
    thread.step = Step::kToAnnounce;
    if (Below(2) == 0) Run(thread, /*quiet=*/true);
  }

  void RunOnRead(int id) {
    if (Below(2) == 0) return;
    for (Thread& thread : threads_) {
      if (thread.id != id) continue;
      for (std::uint64_t steps = 1 + Below(2); steps > 0 && thread.step != Step::kIdle; --steps) Run(thread, /*quiet=*/true);
    }
  }

  void BeginChange(Thread& thread, std::uint64_t dice) {
    std::uint64_t first = Skewed();
    std::uint64_t count = 1 + Below(std::min<std::uint64_t>(kRegionPages - first, 6));
    AddressRange range{thread.region + first * kPageBytes, thread.region + (first + count) * kPageBytes};
    if (dice < 90) return Drop(thread, range);
    if (dice < 93) return Unmap(thread, range);
    if (dice < 95) return Remap(thread);
    if (shared_.processes.size() < 6) Fork(thread);
  }

  void Access(Thread& thread) {
    auto page = mm_->pages.find(thread.address);
    if (page == mm_->pages.end()) {  // unmapped under a peek
      thread.step = Step::kIdle;
      return;
    }
    if (!mm_->Access(thread.id, thread.address, thread.write)) return;
    thread.step = Step::kIdle;
    ++shared_.accesses;
    PageBytes& bytes = *page->second.bytes;
    if (thread.verify) {
      std::uint64_t want = truth_.at(thread.address);
      for (std::size_t place : kPlaces) {
        std::uint64_t have;
        std::memcpy(&have, bytes.data() + place, 8);
        if (have != want) {
          Fail("thread " + std::to_string(thread.id) + (is_child_ ? " of a child" : "") + " read " + std::to_string(have) +
               " where it wrote " + std::to_string(want) + ", page " + std::to_string((thread.address - kBase) / kPageBytes));
        }
      }
    }
    if (!thread.write) return;
    std::uint64_t value = Below(16) == 0 ? 0 : shared_.next_value++;  // zero pages too
    for (std::size_t place : kPlaces) std::memcpy(bytes.data() + place, &value, 8);
    truth_[thread.address] = value;
  }

  void Drop(Thread& thread, AddressRange range) {
    thread.range = range;
    thread.keep = Below(5) == 0;
    thread.then = Step::kZap;
    if (!mm_->AnyRegistered(range)) return Zap(thread);  // under the lock that REGISTER needs
    mm_->thread_drops = true;
    ++dropping_;
    Announce(thread, MemoryEvent::Kind::kRemove, range);
  }

  void Zap(Thread& thread) {
    for (std::uint64_t address = thread.range.start; address < thread.range.end; address += kPageBytes) {
      auto page = mm_->pages.find(address);
      if (page == mm_->pages.end()) continue;
      // FREE without memory pressure keeps the bytes; what the program sees then is either: zero it, to keep the truth one.
      if (thread.keep && page->second.bytes != nullptr) {
        page->second.bytes = std::make_shared<PageBytes>();
        page->second.shared = false;
      } else {
        page->second.bytes.reset();
        page->second.shared = false;
      }
      truth_[address] = 0;
    }
    if (thread.step == Step::kZap && --dropping_ == 0) mm_->thread_drops = false;
    thread.range = {};
    thread.step = Step::kIdle;
  }

  void Unmap(Thread& thread, AddressRange range) {
    bool registered = mm_->AnyRegistered(range);
    for (std::uint64_t address = range.start; address < range.end; address += kPageBytes) {
      mm_->pages.erase(address);
      // Mapped anew at once, by another thread as it were: before anybody has read that the old is gone.
      mm_->pages[address] = {};
      truth_[address] = 0;
    }
    if (!registered) return;
    thread.then = Step::kIdle;
    Announce(thread, MemoryEvent::Kind::kUnmap, range);
  }

  void Remap(Thread& thread) {
    AddressRange from{thread.region, thread.region + kRegionPages * kPageBytes};
    std::uint64_t base = kBase + (static_cast<std::uint64_t>(thread.id) + 1) * kRegionSpan;
    std::uint64_t to = base + (1 + Below(64)) * 128 * kPageBytes;
    if (to == from.start) return;
    thread.region = to;
    Move(from, to, thread);
  }

  void Move(AddressRange from, std::uint64_t to, Thread& thread) {
    bool registered = mm_->AnyRegistered(from);
    for (std::uint64_t offset = 0; offset < from.size(); offset += kPageBytes) {
      mm_->pages[to + offset] = mm_->pages.at(from.start + offset);
      truth_[to + offset] = truth_.at(from.start + offset);
      mm_->pages.erase(from.start + offset);
      truth_.erase(from.start + offset);
    }
    if (!registered) return;
    thread.then = Step::kIdle;
    Queue(thread, MemoryEvent::Kind::kRemap, from, to);
    Announce(thread, MemoryEvent::Kind::kUnmap, from);
  }

  void Fork(Thread& thread) {
    auto mm = std::make_shared<SimMm>();
    for (auto& [address, page] : mm_->pages) {
      if (page.bytes != nullptr) page.shared = true;
      mm->pages[address] = page;
    }
    auto child = std::make_unique<SimProcess>(shared_, mm, 0);
    child->is_child_ = true;
    child->started_ = false;
    child->truth_ = truth_;
    child->threads_.push_back(Thread{.id = thread.id, .region = thread.region, .cursor = 0});
    bool registered = false;
    for (auto& [address, page] : mm_->pages) registered |= page.registered;
    if (!registered) return;  // nothing of it is watched: no event
    for (const Thread& other : threads_) {
      child->threads_[0].blocks.insert(child->threads_[0].blocks.end(), other.blocks.begin(), other.blocks.end());
    }
    thread.child = child.get();
    thread.then = Step::kAwaitChild;
    shared_.processes.push_back(std::move(child));
    Announce(thread, MemoryEvent::Kind::kFork, {}, std::make_unique<SimSource>(mm, /*root=*/false));
  }

  void BeginCheck(Thread& thread) {
    if (thread.check_cursor == 2 * kRegionPages + thread.blocks.size() * kBlockPages) {
      thread.checking = false;
      return;
    }
    std::uint64_t at = thread.check_cursor++;
    thread.address = (at < kRegionPages ? thread.region : kBase) + at % kRegionPages * kPageBytes;
    if (at >= 2 * kRegionPages) {
      at -= 2 * kRegionPages;
      thread.address = thread.blocks[at / kBlockPages] + at % kBlockPages * kPageBytes;
    }
    thread.write = false;
    thread.verify = true;
    thread.step = Step::kAccess;
    Access(thread);
  }

  Shared& shared_;
  std::shared_ptr<SimMm> mm_;
  std::vector<Thread> threads_;
  std::map<std::uint64_t, std::uint64_t> truth_;  // address → value
  bool is_child_ = false;
  bool started_ = true;
  int dropping_ = 0;
};

}  // namespace ashlar::pnode::sim
