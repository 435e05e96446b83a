// A model of one process's memory as the kernel and userfaultfd treat it: what is present, who waits, which changes have
// been announced and not yet read. One thread; time and order come from the world that drives it.
//
// What it keeps of the kernel, because paging depends on it:
//   - a VM change makes fills and moves answer EAGAIN from the change until its thread runs again after its event was read;
//   - REMOVE is read before the zap, UNMAP after the range is gone, REMAP before the UNMAP of the old place;
//   - the map changes first and the event is queued later, when its thread runs again: another thread may get the freed place
//     and have its event read before;
//   - faults are read before events; a fault that was read waits for a wake of its page;
//   - fills never go over a present page; fork copies everything at once and shares it, and shared pages refuse to move.
#pragma once

#include <errno.h>

#include <array>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "daemons/pnode/paging/fault_source.h"
#include "daemons/pnode/paging/page_mover.h"

namespace ashlar::pnode::sim {

using PageBytes = std::array<std::byte, kPageBytes>;

struct SimMm {
  struct Page {
    bool registered = false;
    bool shared = false;                // with a child or parent: MOVE refuses
    std::shared_ptr<PageBytes> bytes;   // nullptr = missing
  };
  struct Announced {
    MemoryEvent event;
    int thread = 0;  // sleeps until it is read
  };

  std::map<std::uint64_t, Page> pages;       // mapped, by address
  std::map<int, std::uint64_t> waiting;      // thread → address it faulted on
  std::deque<std::pair<int, bool>> unread_faults;  // thread, write
  std::deque<Announced> events;
  std::set<int> released;                    // threads whose event was read
  int changing = 0;
  bool gone = false;
  std::function<void(int)> on_read = [](int) {};  // the thread whose event was just read may run on another CPU at once
  bool thread_drops = false;                 // some thread is inside of madvise

  // Tries an access; false: the thread waits for a fault now.
  bool Access(int thread, std::uint64_t address, bool write) {
    Page& page = pages.at(address);
    if (page.bytes == nullptr) {
      if (page.registered) {
        waiting[thread] = address;
        unread_faults.emplace_back(thread, write);
        return false;
      }
      page.bytes = std::make_shared<PageBytes>();
    }
    if (write && page.shared) Unshare(page);
    return true;
  }
  static void Unshare(Page& page) {
    page.bytes = std::make_shared<PageBytes>(*page.bytes);
    page.shared = false;
  }
  bool Waits(int thread) const { return waiting.contains(thread); }
  void Announce(MemoryEvent event, int thread) { events.push_back({std::move(event), thread}); }
  bool AnyRegistered(AddressRange range) const {
    for (auto it = pages.lower_bound(range.start); it != pages.end() && it->first < range.end; ++it) {
      if (it->second.registered) return true;
    }
    return false;
  }
  void Wake(AddressRange range) {
    for (auto it = waiting.begin(); it != waiting.end();) {
      if (it->second < range.start || it->second >= range.end) {
        ++it;
        continue;
      }
      for (auto fault = unread_faults.begin(); fault != unread_faults.end();) {
        fault = fault->first == it->first ? unread_faults.erase(fault) : std::next(fault);
      }
      it = waiting.erase(it);
    }
  }
};

class SimSource : public FaultSource {
 public:
  explicit SimSource(std::shared_ptr<SimMm> mm, bool root) : mm_(std::move(mm)), root_(root) {}

  int Read(std::vector<MemoryEvent>& into) override {
    int count = 0;
    while (count < 16 && !mm_->unread_faults.empty()) {
      auto [thread, write] = mm_->unread_faults.front();
      mm_->unread_faults.pop_front();
      MemoryEvent& event = into.emplace_back();
      event.range = {mm_->waiting.at(thread), mm_->waiting.at(thread) + kPageBytes};
      event.write = write;
      ++count;
    }
    while (count < 16 && !mm_->events.empty()) {
      int thread = mm_->events.front().thread;
      mm_->released.insert(thread);
      into.push_back(std::move(mm_->events.front().event));
      mm_->events.pop_front();
      ++count;
      mm_->on_read(thread);
    }
    return count;
  }
  Filled Copy(std::uint64_t address, std::span<const std::byte> bytes, bool wake) override {
    Filled filled;
    for (std::size_t at = 0; at < bytes.size(); at += kPageBytes) {
      filled.error = Fill(address + at, bytes.data() + at, wake);
      if (filled.error != 0) break;
      ++filled.pages;
    }
    return filled;
  }
  int ZeroFill(std::uint64_t address) override {
    static const PageBytes kZero{};
    return Fill(address, kZero.data(), true);
  }
  bool Changing() override { return !mm_->gone && mm_->changing > 0; }
  int CheckRegistered(AddressRange range) override {
    if (mm_->gone) return ESRCH;
    if (mm_->changing > 0) return EAGAIN;
    for (std::uint64_t address = range.start; address < range.end; address += kPageBytes) {
      auto page = mm_->pages.find(address);
      if (page == mm_->pages.end() || !page->second.registered) return ENOENT;
    }
    return 0;
  }
  void Wake(AddressRange range) override { mm_->Wake(range); }
  int Register(AddressRange range) override {
    for (auto it = mm_->pages.lower_bound(range.start); it != mm_->pages.end() && it->first < range.end; ++it) {
      it->second.registered = true;
    }
    return 0;
  }
  int FindPresent(AddressRange range, std::vector<AddressRange>& into) override {
    for (auto it = mm_->pages.lower_bound(range.start); it != mm_->pages.end() && it->first < range.end; ++it) {
      if (it->second.bytes != nullptr) into.push_back({it->first, it->first + kPageBytes});
    }
    return 0;
  }
  int ListCandidates(std::vector<AddressRange>& into) override {
    if (!root_ || mm_->gone) return ESRCH;
    for (const auto& [address, page] : mm_->pages) {
      if (!into.empty() && into.back().end == address) {
        into.back().end += kPageBytes;
      } else {
        into.push_back({address, address + kPageBytes});
      }
    }
    return 0;
  }
  AddressRange FindMapping(std::uint64_t address) override {
    std::vector<AddressRange> all;
    ListCandidates(all);
    for (const AddressRange& range : all) {
      if (range.start <= address && address < range.end) return range;
    }
    return {};
  }
  std::uint64_t ResidentAnonymousPages() override {
    std::uint64_t count = 0;
    for (const auto& [address, page] : mm_->pages) count += page.bytes != nullptr ? 1 : 0;
    return count;
  }
  bool NoThreadDropsPages() override { return !mm_->thread_drops; }
  bool ThreadAlive(std::uint32_t thread) override { return alive(thread); }
  bool Gone() override { return mm_->gone; }
  int fd() const override { return -1; }
  int process_fd() const override { return -1; }

  std::function<bool(std::uint32_t)> alive = [](std::uint32_t) { return true; };

 private:
  int Fill(std::uint64_t address, const std::byte* bytes, bool wake) {
    if (mm_->changing > 0) return EAGAIN;
    if (mm_->gone) return ESRCH;
    auto page = mm_->pages.find(address);
    if (page == mm_->pages.end() || !page->second.registered) return ENOENT;
    if (page->second.bytes != nullptr) return EEXIST;
    page->second.bytes = std::make_shared<PageBytes>();
    page->second.shared = false;
    std::memcpy(page->second.bytes->data(), bytes, kPageBytes);
    if (wake) mm_->Wake({address, address + kPageBytes});
    return 0;
  }

  std::shared_ptr<SimMm> mm_;
  bool root_;
};

// The helper threads: they do a page whenever the world lets them.
class SimMover : public PageMover {
 public:
  SimMover(std::shared_ptr<SimMm> mm, std::span<std::byte> victim, std::function<bool()> pinned)
      : mm_(std::move(mm)), victim_(victim), pinned_(std::move(pinned)) {}

  std::size_t max_batch() const override { return 8; }
  std::uint32_t staging_pages() const override { return 8; }
  void StartMove(std::span<const MoveRequest> requests) override {
    requests_.assign(requests.begin(), requests.end());
    results_.clear();
    open_ = true;
  }
  bool MoveDone() override {
    if (!open_ || results_.size() < requests_.size()) return false;
    open_ = false;
    return true;
  }
  int MoveResult(std::size_t index) const override { return results_[index]; }
  bool StartUnshare(std::span<const std::uint64_t> addresses) override {
    if (!unshare_.empty()) return false;
    unshare_.assign(addresses.begin(), addresses.end());
    return true;
  }
  bool Arm() override { return false; }
  void Disarm() override {}
  int event_fd() const override { return -1; }

  // One page. False: nothing to do.
  bool Step() {
    if (!unshare_.empty()) {
      auto page = mm_->pages.find(unshare_.back());
      unshare_.pop_back();
      if (page != mm_->pages.end() && page->second.bytes != nullptr && page->second.shared) SimMm::Unshare(page->second);
    }
    if (!open_ || results_.size() >= requests_.size() || mm_->gone) return false;
    const MoveRequest& request = requests_[results_.size()];
    results_.push_back(Move(request));
    return true;
  }

 private:
  int Move(const MoveRequest& request) {
    if (mm_->changing > 0) return EAGAIN;
    auto page = mm_->pages.find(request.address);
    if (page == mm_->pages.end() || !page->second.registered) return EINVAL;
    if (page->second.bytes == nullptr) return ENOENT;
    if (page->second.shared || pinned_()) return EBUSY;
    std::memcpy(victim_.data() + request.slot * kPageBytes, page->second.bytes->data(), kPageBytes);
    page->second.bytes.reset();
    return 0;
  }

  std::shared_ptr<SimMm> mm_;
  std::span<std::byte> victim_;
  std::function<bool()> pinned_;
  std::vector<MoveRequest> requests_;
  std::vector<int> results_;
  std::vector<std::uint64_t> unshare_;
  bool open_ = false;
};

}  // namespace ashlar::pnode::sim
