// Changes of the address space. 10-paging §12.
#include <algorithm>

#include "common/base/check.h"
#include "daemons/pnode/paging/program.h"

namespace ashlar::pnode {

void Program::Apply(Memory& memory, MemoryEvent& event, std::uint64_t now_ns) {
  switch (event.kind) {
    case MemoryEvent::Kind::kFault: return;
    case MemoryEvent::Kind::kRemove:
      count_.events_remove.Add();
      OnRemove(memory, event.range);
      suspects_ns_ = now_ns;
      return;
    case MemoryEvent::Kind::kUnmap:
      count_.events_unmap.Add();
      OnUnmap(memory, event.range);
      return;
    case MemoryEvent::Kind::kRemap:
      count_.events_remap.Add();
      OnRemap(memory, event.range, event.to);
      return;
    case MemoryEvent::Kind::kFork:
      count_.events_fork.Add();
      OnFork(memory, std::move(event.child));
      return;
  }
}

// The program gave these pages up. What is on its way for them is forgotten: slots, fetches, remote versions.
void Program::DropPages(Memory& memory, PageRange range, bool unmapped) {
  std::uint64_t newest = 0;
  bool was_sent = false;  // some page has more than zeros to its name
  std::uint64_t end = range.first.value() + range.count;
  for (std::uint64_t number = range.first.value(); number < end; ++number) {
    PageNumber page(number);
    PageEntry& entry = *memory.pages.Find(page);
    if (entry.version == 0 && entry.page_state() == PageState::kZero) continue;
    newest = std::max<std::uint64_t>(newest, entry.version);
    PageState before = entry.page_state();
    was_sent |= entry.version != 0 && before != PageState::kZero;
    if (before == PageState::kResident) LeaveResident(memory, entry);
    if (before == PageState::kFetching) DropFetch(entry.link);
    if (memory.root && entry.version != 0) victims_.Forget(page);
    if (!memory.root && before == PageState::kStaged) memory.held.erase(number);
    if (!Step(memory, entry, PageEvent::kDropped, page)) return;
    entry.clear(PageEntry::kHashValid);
    entry.link = 0;
  }
  if (memory.root && was_sent) {
    // One version for the whole range: what comes back starts above it.
    for (std::uint64_t number = range.first.value(); number < end && !unmapped; ++number) {
      memory.pages.Find(PageNumber(number))->version = newest & kMaxVersion;
    }
    AddTrim({range.first, range.count, Version(newest)});
    count_.trimmed_pages.Add(range.count);
  }
  if (!memory.root) recheck_blocked_ = true;
  if (unmapped) memory.pages.Release(range.first, range.count);
}

void Program::OnRemove(Memory& memory, AddressRange range) {
  // The areas stay; only their pages are dropped.
  const auto& areas = memory.areas.areas();
  auto it = areas.upper_bound(range.start);
  if (it != areas.begin()) --it;
  for (; it != areas.end() && !killed_; ++it) {
    const Area& area = it->second;
    if (area.range.end <= range.start) continue;
    if (area.range.start >= range.end) break;
    AddressRange inside{std::max(area.range.start, range.start), std::min(area.range.end, range.end)};
    DropPages(memory, {area.PageOf(inside.start), inside.size() / kPageBytes}, /*unmapped=*/false);
  }
  if (memory.root) suspects_.push_back(range);  // FREE keeps pages in place, and DONTNEED's zap is still to come
  memory.source->Wake(range);  // who waited for a fetch asks again
}

void Program::OnUnmap(Memory& memory, AddressRange range) {
  for (const PageRange& pages : memory.areas.Cut(range)) {
    if (!killed_) DropPages(memory, pages, /*unmapped=*/true);
  }
  memory.source->Wake(range);
  memory.changed = true;  // someone may have mapped there already
}

void Program::OnRemap(Memory& memory, AddressRange range, std::uint64_t to) {
  for (const PageRange& pages : memory.areas.Move(range.start, to, range.size())) {
    if (!killed_) DropPages(memory, pages, /*unmapped=*/true);
  }
  memory.source->Wake(range);
  memory.source->Wake({to, to + range.size()});
  memory.changed = true;
}

}  // namespace ashlar::pnode
