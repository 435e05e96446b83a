#include "daemons/pnode/supervisor/miss_sink.h"

namespace ashlar::pnode {
namespace {

void Grow(__u64& field, std::uint64_t by) { __atomic_fetch_add(&field, by, __ATOMIC_RELAXED); }

}  // namespace

bool MissSink::Add(std::uint32_t tid, std::uint64_t waited_ns) const {
  const std::uint64_t link = LoadRelaxed(tid_hints_[tid % tid_hints_.size()]);
  if (link == 0 || link > table_.slots.size()) return false;
  strace_info& slot = table_.slots[link - 1];
  if (LoadAcquire(slot.state) != kSlotLive || LoadAcquire(slot.tid) != tid) return false;
  const std::uint32_t current = LoadAcquire(slot.current);
  if (LoadRelaxed(slot.enter_ns) != 0 && current >= 1 && current <= kEntries) {
    Grow(slot.entries[current - 1].miss_ns, waited_ns);
    Grow(slot.entries[current - 1].miss_count, 1);
  } else {
    Grow(slot.user_miss_ns, waited_ns);  // no call, or one without an entry
    Grow(slot.user_miss_count, 1);
  }
  return true;
}

}  // namespace ashlar::pnode
