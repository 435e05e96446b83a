#include "daemons/pnode/supervisor/slot_table.h"

#include <algorithm>
#include <cstring>

namespace ashlar::pnode {

void ForEachThread(const SlotTable& table, std::uint32_t process, absl::FunctionRef<void(std::uint32_t slot)> visit) {
  std::uint32_t link = LoadAcquire(table.processes[process].head);
  for (std::size_t steps = 0; steps < table.slots.size() && link != 0 && link <= table.slots.size(); ++steps) {
    const std::uint32_t next = LoadAcquire(table.slots[link - 1].next);
    visit(link - 1);
    link = next;
  }
}

std::uint32_t UnlinkDead(const SlotTable& table, std::uint32_t process, absl::FunctionRef<void(std::uint32_t slot)> folded) {
  std::uint32_t count = 0;
  std::uint32_t before = LoadAcquire(table.processes[process].head);
  if (before == 0 || before > table.slots.size()) return 0;
  std::uint32_t link = LoadAcquire(table.slots[before - 1].next);
  for (std::size_t steps = 0; steps < table.slots.size() && link != 0 && link <= table.slots.size(); ++steps) {
    const std::uint32_t next = LoadAcquire(table.slots[link - 1].next);
    if (LoadAcquire(table.slots[link - 1].state) == kSlotDead) {
      table.slots[before - 1].next = next;
      folded(link - 1);
      ++count;
    } else {
      before = link;
    }
    link = next;
  }
  return count;
}

std::uint32_t UnlinkAll(const SlotTable& table, std::uint32_t process, absl::FunctionRef<void(std::uint32_t slot)> folded) {
  std::uint32_t count = 0;
  ForEachThread(table, process, [&](std::uint32_t slot) {
    folded(slot);
    ++count;
  });
  table.processes[process].head = 0;
  return count;
}

void ClearSlot(strace_info& slot) {
  const __u64 generation = slot.generation;
  const std::size_t entries = std::min<std::size_t>(slot.entry_count, kEntries);
  std::memset(slot.entries, 0, entries * sizeof(syscall_entry));
  std::memset(&slot, 0, offsetof(strace_info, entries));
  slot.generation = generation;
}

void ClearProcess(process_info& process) {
  const __u32 generation = process.generation;
  std::memset(&process, 0, sizeof(process));
  process.generation = generation;
}

}  // namespace ashlar::pnode
