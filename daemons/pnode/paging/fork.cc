// Children that fork without exec. See "Fork" in README.md.
//
// A child reads what its parent had: resident pages by the kernel's copy-on-write, staged bytes as copies, remote pages at
// the parent's (page, version). Before the home may lose that version, the child gets it: see ChildNeeds and PostPush.
#include <errno.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "daemons/pnode/paging/program.h"

namespace ashlar::pnode {

ForkSeen Program::BeginLook(const Memory& parent, std::size_t index) const {
  ForkSeen fork{.index = index, .looked_at = {}, .registered = {}, .child_events = {}};
  for (const auto& [start, area] : parent.areas.areas()) fork.looked_at.push_back(area.range);
  for (const MemoryEvent& change : parent.changes) {
    if (change.kind == MemoryEvent::Kind::kRemap) fork.looked_at.push_back({change.to, change.to + change.range.size()});
  }
  return fork;
}

// What the child had when it began. From the read of the FORK on it may run and change its map: its events say what it had
// there. False: it is just changing it, look again.
bool Program::LookAtChild(ForkSeen& fork, FaultSource& child) {
  while (!fork.looked) {
    bool complete = true;
    for (const AddressRange& range : fork.looked_at) complete = complete && FindRegistered(child, range, fork.registered);
    fork.looked = complete;
    if (complete) break;
    const std::size_t before = fork.child_events.size();
    if (child.Read(fork.child_events) <= 0) return false;
    for (std::size_t i = before; i < fork.child_events.size(); ++i) {
      const MemoryEvent& event = fork.child_events[i];
      bool left = event.kind == MemoryEvent::Kind::kUnmap || event.kind == MemoryEvent::Kind::kRemap;
      if (left) fork.registered.push_back(event.range);
      if (event.kind != MemoryEvent::Kind::kRemap) continue;
      for (const AddressRange& range : fork.looked_at) {
        fork.known &= event.to >= range.end || event.to + event.range.size() <= range.start;
      }
    }
  }
  return true;
}

Memory& Program::OnFork(Memory& parent, std::unique_ptr<FaultSource> source, bool in_dispute) {
  auto owned = std::make_unique<Memory>();
  Memory& child = *owned;
  child.source = std::move(source);
  child.areas = parent.areas;
  child.pages = parent.pages.Clone();
  child.next_page = parent.next_page;
  child.in_dispute = in_dispute;
  memories_.push_back(std::move(owned));
  child.pages.ForEach([&](PageNumber page, PageEntry& entry) {
    if (killed_) return;
    PageState before = entry.page_state();
    if (before == PageState::kZero) return;
    std::optional<PageState> forked = ForkedState(before);
    if (!forked.has_value()) {
      Kill(absl::StrCat("it forked while page ", page.value(), " was being evicted: its copy can't be made right"));
      return;
    }
    std::uint32_t slot = entry.link;
    entry.clear(PageEntry::kPinned);
    entry.set_state(*forked);
    entry.link = 0;
    if (*forked == PageState::kResident) ++child.resident;
    if (*forked != PageState::kStaged) return;
    std::span<const std::byte> bytes =
        parent.root ? std::span<const std::byte>(victims_.bytes(slot))
                    : std::span<const std::byte>(parent.held.at(page.value()).get(), kPageBytes);
    GiveToChild(child, page, bytes);
  });
  context_.events.OnChildSeen(config_.space, child.source->fd());
  return child;
}

// The page's bytes become the child's own: in its memory if the kernel takes them now, else in a held buffer. The entry is
// kStaged (just forked) or kRemote. False: the program was killed.
bool Program::GiveToChild(Memory& child, PageNumber page, std::span<const std::byte> bytes) {
  PageEntry& entry = *child.pages.Find(page);
  std::optional<std::uint64_t> address = child.areas.AddressOf(page);
  int error = ENOENT;
  if (address.has_value() && !child.gone && child.settled()) error = child.source->Copy(*address, bytes, /*wake=*/true).error;
  if (error == 0) {
    if (!Step(child, entry, PageEvent::kFilled, page)) return false;
    MakeResident(child, entry, page, nullptr, {});
    return true;
  }
  if (error == EEXIST) return Step(child, entry, PageEvent::kFoundPresent, page);  // must not happen: kills
  if (error == ESRCH) {
    child.gone = true;
    return true;
  }
  if (entry.page_state() != PageState::kStaged && !Step(child, entry, PageEvent::kHeld, page)) return false;
  auto copy = std::make_unique<std::byte[]>(kPageBytes);
  std::memcpy(copy.get(), bytes.data(), kPageBytes);
  child.held[page.value()] = std::move(copy);
  count_.held_pages.Add();
  return true;
}

// Whether some child would read this page at the home, or is just doing so. can_push: it could be given the bytes instead.
bool Program::ChildNeeds(PageNumber page, bool* can_push) {
  bool needs = PushUnderWay(page);
  if (needs) return true;
  for (std::size_t i = 1; i < memories_.size(); ++i) {
    if (memories_[i]->gone) continue;
    PageEntry* entry = memories_[i]->pages.Find(page);
    if (entry == nullptr) continue;
    if (entry->page_state() == PageState::kRemote) needs = *can_push = true;
    if (entry->page_state() == PageState::kFetching) needs = true;
  }
  if (needs && !recheck_blocked_) recheck_blocked_ = *can_push;
  return needs;
}

// Even if no child waits for it any more: the home must not lose a version while it is being read.
bool Program::PushUnderWay(PageNumber page) const {
  for (std::uint32_t index : groups_) {
    const FetchPool::Group& group = context_.fetches.group(index);
    if (group.memory == nullptr && group.pages[0].page == page) return true;
  }
  return false;
}

// Any at all: what they read may not be trimmed, though nobody is left to want it, or it would count as lost.
bool Program::PushesUnderWay() const {
  for (std::uint32_t index : groups_) {
    const FetchPool::Group& group = context_.fetches.group(index);
    const FetchPool::PageProgress progress = group.pages[0].progress;
    if (group.memory == nullptr && progress != FetchPool::PageProgress::kUnused && progress != FetchPool::PageProgress::kAbandoned) return true;
  }
  return false;
}

// Fetches the version that the children hold. The parent's next one waits in its slot until they have it. False: no buffer.
bool Program::PostPush(PageNumber page) {
  Version version;
  for (std::size_t i = 1; i < memories_.size(); ++i) {
    PageEntry* entry = memories_[i]->gone ? nullptr : memories_[i]->pages.Find(page);
    if (entry != nullptr && entry->page_state() == PageState::kRemote) version = Version(entry->version);
  }
  std::uint32_t index = context_.fetches.Take();
  if (index == FetchPool::kNone) return false;
  FetchPool::Group& group = context_.fetches.group(index);
  group.program = this;
  group.count = 1;
  group.posted_ns = context_.clock.NowNs();
  groups_.push_back(index);
  std::uint32_t fetch = index * FetchPool::kGroupPages;
  group.pages[0].progress = FetchPool::PageProgress::kPosted;
  group.pages[0].page = page;
  group.pages[0].version = version;
  FetchRequest request{config_.space, page, version, context_.fetches.bytes(fetch), fetch};
  context_.store.Fetch({&request, 1});
  return true;
}

void Program::OnPushed(std::uint32_t index) {
  FetchPool::Group& group = context_.fetches.group(index);
  FetchPool::Page& slot = group.pages[0];
  std::span<const std::byte> bytes = context_.fetches.bytes(index * FetchPool::kGroupPages);
  for (std::size_t i = 1; i < memories_.size() && !killed_; ++i) {
    Memory& child = *memories_[i];
    PageEntry* entry = child.gone ? nullptr : child.pages.Find(slot.page);
    if (entry == nullptr || entry->page_state() != PageState::kRemote || Version(entry->version) != slot.version) continue;
    if (entry->has(PageEntry::kHashValid) && entry->hash != slot.hash.low32()) {
      Kill(absl::StrCat("page ", slot.page.value(), " came back for its child with other bytes than were sent"));
      return;
    }
    count_.pushed_pages.Add();
    if (!GiveToChild(child, slot.page, bytes)) return;
  }
  slot.progress = FetchPool::PageProgress::kUnused;
  recheck_blocked_ = true;
  ReleaseIfDone(index);
}

}  // namespace ashlar::pnode
