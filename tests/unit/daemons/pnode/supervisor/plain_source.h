// A collector in plain memory: tests play the part of the BPF programs.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "daemons/pnode/supervisor/trace_book.h"

namespace ashlar::pnode {

class PlainSource final : public ChainSource {
 public:
  explicit PlainSource(std::size_t slots = 16, std::size_t processes = 8) : slots_(slots), processes_(processes) {}

  // --- what the kernel does ---
  std::uint32_t Fork(std::uint32_t pid, SpaceId trace) {
    const std::uint32_t index = free_processes_.empty() ? used_++ : Take(free_processes_);
    process_info& process = processes_[index];
    process.tgid = pid;
    process.trace = trace.value();
    process.state = kProcessLive;
    ++process.generation;
    pids_.insert(pid);
    StartThread(index, pid);
    return index;
  }
  // ASHLAR_NO_SLOT: none was left.
  std::uint32_t StartThread(std::uint32_t process, std::uint32_t tid, std::uint64_t now_ns = 1000) {
    ++processes_[process].thread_count;
    if (free_slots_.empty() && fresh_slots_ == slots_.size()) {
      ++processes_[process].overflow_threads;
      return ASHLAR_NO_SLOT;
    }
    const std::uint32_t index = free_slots_.empty() ? fresh_slots_++ : Take(free_slots_);
    strace_info& slot = slots_[index];
    slot.tid = tid;
    slot.tgid = processes_[process].tgid;
    slot.process = process;
    slot.state = kSlotLive;
    slot.start_ns = now_ns;
    ++slot.generation;
    slot.next = std::exchange(processes_[process].head, index + 1);
    return index;
  }
  void Enter(std::uint32_t slot, std::uint32_t nr, std::uint64_t now_ns) {
    strace_info& info = slots_[slot];
    if (info.index[nr] == 0) {
      info.entries[info.entry_count].nr = nr;
      info.index[nr] = static_cast<__u8>(++info.entry_count);
    }
    info.nr = nr;
    info.current = info.index[nr];
    info.enter_ns = now_ns;
  }
  void Call(std::uint32_t slot, std::uint32_t nr, std::uint64_t ns, bool error = false) {
    Enter(slot, nr, 1);
    strace_info& info = slots_[slot];
    syscall_entry& entry = info.entries[info.current - 1];
    ++entry.calls;
    entry.errors += error ? 1 : 0;
    entry.total_ns += ns;
    entry.max_ns = std::max<__u64>(entry.max_ns, ns);
    entry.min_ns = entry.min_ns == 0 ? ns : std::min<__u64>(entry.min_ns, ns);
    ++entry.histogram[Log2BucketOf(ns)];
    info.enter_ns = 0;
    info.current = 0;
  }
  void CallInOverflow(std::uint32_t process, std::uint32_t nr) {
    processes_[process].flags |= kProcessOverflow;
    syscall_entry& entry = overflow_[{process, nr}];
    entry.nr = nr;
    ++entry.calls;
  }
  void EndThread(std::uint32_t slot, std::uint64_t now_ns = 2000) {
    slots_[slot].end_ns = now_ns;
    slots_[slot].state = kSlotDead;
    ++processes_[slots_[slot].process].exit_count;
  }
  void EndProcess(std::uint32_t process) {
    ForEachThread(table(), process, [&](std::uint32_t slot) {
      if (slots_[slot].state == kSlotLive) EndThread(slot);
    });
    processes_[process].state = kProcessDead;
    pids_.erase(processes_[process].tgid);
  }
  void ForgetPid(std::uint32_t pid) { pids_.erase(pid); }

  // --- what the book sees ---
  SlotTable table() override { return {slots_, processes_}; }
  std::uint32_t processes_used() override { return used_; }
  std::uint64_t lost() override { return 0; }
  void GiveBackSlot(std::uint32_t slot) override { free_slots_.push_back(slot); }
  void GiveBackProcess(std::uint32_t process) override { free_processes_.push_back(process); }
  void AddOverflow(std::uint32_t process, bool take, CallTotals& into) override {
    for (auto at = overflow_.begin(); at != overflow_.end();) {
      const bool wanted = at->first.first == process;
      if (wanted) into.Add(at->second);
      at = wanted && take ? overflow_.erase(at) : std::next(at);
    }
  }
  bool PidInUse(std::uint32_t pid) override { return pids_.contains(pid); }

  std::size_t slots_touched() const { return fresh_slots_; }

 private:
  static std::uint32_t Take(std::vector<std::uint32_t>& from) {
    const std::uint32_t index = from.back();
    from.pop_back();
    return index;
  }

  std::vector<strace_info> slots_;
  std::vector<process_info> processes_;
  std::vector<std::uint32_t> free_slots_;
  std::vector<std::uint32_t> free_processes_;
  std::uint32_t fresh_slots_ = 0;
  std::uint32_t used_ = 1;
  std::map<std::pair<std::uint32_t, std::uint32_t>, syscall_entry> overflow_;
  std::set<std::uint32_t> pids_;
};

}  // namespace ashlar::pnode
