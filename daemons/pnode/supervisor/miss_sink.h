// Adds the time a thread waited for a remote page to the system call it waited in, or to the thread itself: how much of a call was
// remote memory.
//
// Threads: the fault thread only, while BPF writes the same slots' other fields. It takes no lock, allocates nothing and touches
// kernel memory that is never paged, so it obeys the fault thread's rules. The thread is asleep in that very call, so nothing
// about the call changes meanwhile; only one that is killed just now may have left: its miss can go to whoever has its slot next.
#pragma once

#include <cstdint>
#include <span>

#include "daemons/pnode/supervisor/slot_table.h"

namespace ashlar::pnode {

class MissSink {
 public:
  MissSink(const SlotTable& table, std::span<const __u64> tid_hints) : table_(table), tid_hints_(tid_hints) {}

  // False: no traced thread has that tid.
  bool Add(std::uint32_t tid, std::uint64_t waited_ns) const;

 private:
  const SlotTable table_;
  const std::span<const __u64> tid_hints_;
};

}  // namespace ashlar::pnode
