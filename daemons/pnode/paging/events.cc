// Changes of the address space. 10-paging §12; their order: change_order.h.
#include <errno.h>

#include <algorithm>

#include "daemons/pnode/paging/change_order.h"
#include "daemons/pnode/paging/program.h"

namespace ashlar::pnode {
namespace {

using Kind = MemoryEvent::Kind;

bool Moves(const OrderedChange& change) {
  return change.kind == OrderedChange::Kind::kUnmap || change.kind == OrderedChange::Kind::kRemap;
}

}  // namespace

// All that is outstanding was read and is applied in the order in which it happened. From the moment of its read the kernel
// lets fills pass: so before anything is filled.
void Program::ApplyChanges(Memory& memory, std::uint64_t now_ns) {
  if (memory.changes.empty() || memory.gone || killed_ || memory.source->Changing()) return;
  const std::vector<OrderedChange> ordered = WithoutTrailing(memory.changes);
  std::vector<AddressRange> alive;
  for (const AddressRange& range : RangesInDispute(ordered)) {
    if (!FindRegistered(*memory.source, range, alive)) return;  // a new change has begun
  }
  for (ForkSeen& fork : memory.forks) {
    if (!LookAtChild(fork, *memory.changes[fork.index].child)) return;
  }
  std::vector<MemoryEvent> changes;
  changes.swap(memory.changes);
  std::vector<ForkSeen> forks;
  forks.swap(memory.forks);
  // Where a fork stands among changes of the map by other threads, its event's place does not say: the child's memory does.
  const bool fork_in_dispute = !forks.empty() && std::any_of(ordered.begin(), ordered.end(), Moves);
  std::vector<Memory*> born;  // in the order of `forks`
  for (const ForkSeen& fork : forks) {
    if (!fork_in_dispute) break;
    born.push_back(&OnFork(memory, std::move(changes[fork.index].child), true));
    ApplyToChild(*born.back(), ordered, fork);
  }
  auto drop = [&](PageRange pages, bool unmapped) {
    if (!killed_) DropPages(memory, pages, unmapped);
  };
  ChangeOrder order(memory.areas, std::move(alive), drop);
  for (const OrderedChange& change : ordered) {
    if (killed_) break;
    switch (change.kind) {
      case OrderedChange::Kind::kRemove: order.Remove(change.range); break;
      case OrderedChange::Kind::kUnmap: order.Unmap(change.range); break;
      case OrderedChange::Kind::kRemap: order.Remap(change.range, change.to); break;
      case OrderedChange::Kind::kFork:
        // Nothing is put into a child that has gone on already: its own fork may have been before that.
        if (!fork_in_dispute) {
          const bool went_on = !forks[born.size()].child_events.empty();
          born.push_back(&OnFork(memory, std::move(changes[change.index].child), went_on));
        }
        break;
    }
  }
  if (!order.Finish() && !killed_) {
    Kill("two of its threads changed the map of its memory at one place at once: which pages were moved can't be known");
  }
  count_.events_overtaken.Add(order.overtaken());
  for (std::size_t i = 0; i < born.size(); ++i) {
    Receive(*born[i], forks[i].child_events, now_ns);
    born[i]->in_dispute = false;
  }
  for (const MemoryEvent& change : changes) AfterChange(memory, change, now_ns);
}

// `child` has what the parent had before `changes`; those that came before the fork happened to it too.
void Program::ApplyToChild(Memory& child, std::span<const OrderedChange> changes, const ForkSeen& fork) {
  auto drop = [&](PageRange pages, bool unmapped) {
    if (!killed_) DropPages(child, pages, unmapped);
  };
  bool known = fork.known;
  const std::vector<bool> happened = WhatHappenedBefore(child.areas, changes, fork, known);
  ChangeOrder order(child.areas, {}, drop);
  for (std::size_t i = 0; i < changes.size(); ++i) {
    if (!happened[i]) continue;
    switch (changes[i].kind) {
      case OrderedChange::Kind::kRemove: order.Remove(changes[i].range); break;
      case OrderedChange::Kind::kUnmap: order.Unmap(changes[i].range); break;
      case OrderedChange::Kind::kRemap: order.Remap(changes[i].range, changes[i].to); break;
      case OrderedChange::Kind::kFork: break;
    }
  }
  known &= order.Finish();
  if (!known && !killed_ && !child.gone) {
    Kill("the map of its memory changed twice at one place while it forked: what the child had there can't be known");
  }
}

void Program::AfterChange(Memory& memory, const MemoryEvent& change, std::uint64_t now_ns) {
  switch (change.kind) {
    case Kind::kFault: return;
    case Kind::kRemove:
      count_.events_remove.Add();
      suspects_ns_ = now_ns;
      if (memory.root) suspects_.push_back(change.range);  // FREE keeps pages in place, and DONTNEED's zap is still to come
      break;
    case Kind::kUnmap: count_.events_unmap.Add(); break;
    case Kind::kRemap:
      count_.events_remap.Add();
      memory.source->Wake({change.to, change.to + change.range.size()});
      break;
    case Kind::kFork: count_.events_fork.Add(); return;
  }
  memory.source->Wake(change.range);  // who waited for a fetch asks again
  if (change.kind != Kind::kRemove) memory.changed = true;  // someone may have mapped there already
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

}  // namespace ashlar::pnode
