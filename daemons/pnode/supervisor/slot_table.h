// The slots and processes of one collector, wherever they lie, and walks over them that always end.
//
// Threads: one thread at a time. BPF may push new threads onto a chain meanwhile: it changes `head` only, the walker changes
// only `next` of what is behind.
#pragma once

#include <cstdint>
#include <span>

#include "absl/functional/function_ref.h"
#include "daemons/pnode/supervisor/strace_info.h"

namespace ashlar::pnode {

struct SlotTable {
  std::span<strace_info> slots;
  std::span<process_info> processes;
};

inline std::uint32_t LoadAcquire(const __u32& field) { return __atomic_load_n(&field, __ATOMIC_ACQUIRE); }
inline std::uint64_t LoadRelaxed(const __u64& field) { return __atomic_load_n(&field, __ATOMIC_RELAXED); }

// The process's threads, youngest first. A chain that leads outside the table, or in a circle, ends there.
void ForEachThread(const SlotTable& table, std::uint32_t process, absl::FunctionRef<void(std::uint32_t slot)> visit);

// Unlinks every dead thread that is not the head, and hands it to `folded`, which takes its numbers and gives the slot back.
// The head stays even if it is dead: BPF may be linking a new thread to it just now. Returns how many.
std::uint32_t UnlinkDead(const SlotTable& table, std::uint32_t process, absl::FunctionRef<void(std::uint32_t slot)> folded);

// Everything of a process no thread of which lives: the chain is empty afterwards.
std::uint32_t UnlinkAll(const SlotTable& table, std::uint32_t process, absl::FunctionRef<void(std::uint32_t slot)> folded);

// As it was before it was first handed out, but for `generation`.
void ClearSlot(strace_info& slot);
void ClearProcess(process_info& process);

}  // namespace ashlar::pnode
