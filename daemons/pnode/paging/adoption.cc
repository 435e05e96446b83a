// Finding the program's anonymous memory and taking it over; pins. 10-paging §7.
#include <algorithm>

#include "common/base/check.h"
#include "daemons/pnode/paging/program.h"

namespace ashlar::pnode {
namespace {

constexpr std::uint64_t kMovingScanNs = 2'000'000;
constexpr std::uint64_t kStillScanNs = 100'000'000;
constexpr std::uint64_t kYoungNs = 5'000'000;            // a small new mapping may be gone again by then
constexpr std::uint64_t kLargeBytes = 1 << 20;           // taken at once
constexpr std::int64_t kNoticeablePages = 64;            // growth that is worth a look at the map
constexpr std::uint64_t kSuspectQuietNs = 20'000'000;
constexpr std::uint64_t kPinCheckNs = 20'000'000;
constexpr std::size_t kMaxSuspects = 512;
constexpr std::uint64_t kFreshMargin = 4;           // room for so many times what was found new at one look
constexpr std::uint64_t kFreshDecay = 64;           // looks: the room shrinks to 1/e while little new is found
constexpr std::uint64_t kChildClaimBytes = 2 << 20;

}  // namespace

// Bound on the owner's time: a look at the map costs some 100 µs, and comes at most every 2 ms.
bool Program::Adopt(std::uint64_t now_ns) {
  Memory& memory = root();
  if (memory.gone || !batch_.empty()) return false;
  if (now_ns < next_scan_ns_ && !memory.changed) return false;
  auto local = static_cast<std::int64_t>(memory.source->ResidentAnonymousPages()) - static_cast<std::int64_t>(resident_.size());
  count_.local_pages.Set(static_cast<std::uint64_t>(std::max<std::int64_t>(local, 0)));
  local_at_scan_ = std::min(local_at_scan_, local);
  NoteFresh(static_cast<std::uint64_t>(local - local_at_scan_));
  bool grew = local > local_at_scan_ + kNoticeablePages;
  if (!grew && !memory.changed && young_.empty() && now_ns < next_full_scan_ns_) {
    next_scan_ns_ = now_ns + kMovingScanNs;
    return false;
  }
  candidates_.clear();
  if (memory.source->ListCandidates(candidates_) != 0) {
    next_scan_ns_ = now_ns + kMovingScanNs;
    return false;
  }
  memory.changed = false;
  ReadEvents(memory, now_ns, /*drain=*/true);
  if (memory.gone || killed_) return true;
  if (memory.changed || !memory.settled()) {  // the map moved under the look at it
    next_scan_ns_ = now_ns;
    return true;
  }
  absl::flat_hash_map<std::uint64_t, std::uint64_t> still_young;
  bool any = false;
  for (const AddressRange& candidate : candidates_) {
    for (const AddressRange& gap : memory.areas.Gaps(candidate)) {
      auto refused = refused_.find(gap.start);
      if (refused != refused_.end() && refused->second == gap.end) continue;
      if (gap.size() < kLargeBytes) {
        auto seen = young_.find(gap.start);
        std::uint64_t first_seen = seen == young_.end() ? now_ns : seen->second;
        if (now_ns - first_seen < kYoungNs) {
          still_young[gap.start] = first_seen;
          continue;
        }
      }
      if (killed_) return true;
      any |= AdoptRange(gap);
    }
  }
  young_ = std::move(still_young);
  AdoptSuspects(now_ns);
  local_at_scan_ = static_cast<std::int64_t>(memory.source->ResidentAnonymousPages()) - static_cast<std::int64_t>(resident_.size());
  next_full_scan_ns_ = now_ns + kStillScanNs;
  next_scan_ns_ = now_ns + kMovingScanNs;
  return any;
}

// What new memory one look finds says how much to keep free for the next: all of fresh_percent while the program grows, and
// never less than half of it.
void Program::NoteFresh(std::uint64_t pages) {
  const std::uint64_t wanted = std::clamp(pages * kFreshMargin, fresh_most_ / 2, fresh_most_);
  if (wanted >= fresh_reserve_) {
    fresh_reserve_ = wanted;
  } else {
    fresh_reserve_ -= (fresh_reserve_ - wanted + kFreshDecay - 1) / kFreshDecay;
  }
  SetResidentLimit();
}

// REGISTER, then look what is there already. No event is read in between. What can't be taken now is found by the next look.
bool Program::AdoptRange(AddressRange range) {
  Memory& memory = root();
  if (int error = memory.source->Register(range); error != 0) {
    count_.refused_areas.Add();
    if (refused_.size() > 4096) refused_.clear();  // they will be refused again
    refused_[range.start] = range.end;
    return false;
  }
  // The map may have changed since the look at it. What is registered from end to end now can't change again without an event.
  if (memory.source->CheckRegistered(range) != 0) {
    memory.changed = true;
    return false;
  }
  present_.clear();
  int error = memory.source->FindPresent(range, present_);
  if (error != 0) {
    // What is there is not known: left unmanaged, its missing pages fault and are claimed one by one as zeros.
    count_.refused_areas.Add();
    return false;
  }
  AddArea(memory, range);
  count_.adopted_areas.Add();
  for (const AddressRange& part : present_) {
    for (std::uint64_t address = part.start; address < part.end; address += kPageBytes) {
      PageNumber page = memory.areas.Find(address)->PageOf(address);
      PageEntry& entry = *memory.pages.Find(page);
      if (!Step(memory, entry, PageEvent::kSeenPresent, page)) return true;
      MakeResident(memory, entry, page, nullptr, {});
      count_.adopted_pages.Add();
    }
  }
  return true;
}

void Program::AddArea(Memory& memory, AddressRange range) {
  std::uint64_t count = range.size() / kPageBytes;
  const Area* below = memory.areas.FindEndingAt(range.start);
  bool grows = below != nullptr && below->end_page() == memory.next_page;
  if (!grows) {
    std::uint64_t alignment = range.size() >= kExtentBytes ? kExtentPages : 16;
    memory.next_page = (memory.next_page + alignment - 1) / alignment * alignment;
  }
  PageNumber first(memory.next_page);
  memory.next_page += count;
  memory.pages.Add(first, count);
  memory.areas.Insert(range, first);
}

// A fault in a registered place that no area knows: mremap grew it, or DONTUNMAP left it behind. Its pages are zeros.
bool Program::ClaimUnknown(Memory& memory, std::uint64_t address, std::uint64_t) {
  if (!memory.root) {
    // No /proc here, and nothing will be evicted: claim what is free around it.
    AddressRange window{address / kChildClaimBytes * kChildClaimBytes, 0};
    window.end = window.start + kChildClaimBytes;
    for (const AddressRange& gap : memory.areas.Gaps(window)) {
      if (gap.start <= address && address < gap.end) AddArea(memory, gap);
    }
    return true;
  }
  AddressRange mapping = memory.source->FindMapping(address);
  if (mapping.size() == 0) return false;
  for (const AddressRange& gap : memory.areas.Gaps(mapping)) {
    if (gap.start <= address && address < gap.end) return AdoptRange(gap);
  }
  return true;
}

// Pages that a REMOVE dropped and that are in memory nevertheless: MADV_FREE kept them, or they were written again. They may
// be taken over only when no REMOVE's zap can still come: else old bytes could be evicted before it, and outlive it.
void Program::AdoptSuspects(std::uint64_t now_ns) {
  Memory& memory = root();
  if (suspects_.size() > kMaxSuspects) {
    AddressRange all = suspects_[0];
    for (const AddressRange& range : suspects_) all = {std::min(all.start, range.start), std::max(all.end, range.end)};
    suspects_.assign(1, all);
  }
  if (suspects_.empty() || now_ns - suspects_ns_ < kSuspectQuietNs || !memory.source->NoThreadDropsPages()) return;
  for (const AddressRange& range : suspects_) {
    for (const auto& [start, area] : memory.areas.areas()) {
      AddressRange inside{std::max(area.range.start, range.start), std::min(area.range.end, range.end)};
      if (inside.start >= inside.end) continue;
      present_.clear();
      if (memory.source->FindPresent(inside, present_) != 0) continue;
      for (const AddressRange& part : present_) {
        for (std::uint64_t address = part.start; address < part.end; address += kPageBytes) {
          PageNumber page = area.PageOf(address);
          PageEntry& entry = *memory.pages.Find(page);
          if (entry.page_state() != PageState::kZero) continue;
          if (!Step(memory, entry, PageEvent::kSeenPresent, page)) return;
          MakeResident(memory, entry, page, nullptr, {});
          count_.adopted_pages.Add();
        }
      }
    }
  }
  suspects_.clear();
}

void Program::PinRanges(std::uint32_t thread, std::vector<AddressRange> ranges, Done done) {
  if (killed_ || ended_ || root().gone) {
    if (done) done(absl::CancelledError("the program is gone"));
    return;
  }
  Pin pin{.thread = thread, .addresses = {}, .pages = {}, .done = std::move(done)};
  for (const AddressRange& range : ranges) {
    for (std::uint64_t address = range.start / kPageBytes * kPageBytes; address < range.end; address += kPageBytes) {
      pin.addresses.push_back(address);
    }
  }
  pins_.push_back(std::move(pin));
}

bool Program::IsPinned(PageNumber page) const {
  for (const Pin& pin : pins_) {
    if (std::find(pin.pages.begin(), pin.pages.end(), page) != pin.pages.end()) return true;
  }
  return false;
}

bool Program::WorkOnPins(std::uint64_t now_ns) {
  if (pins_.empty() || root().gone) return false;
  Memory& memory = root();
  bool any = false;
  for (Pin& pin : pins_) {
    if (pin.addresses.empty()) continue;
    std::size_t kept = 0;
    for (std::uint64_t address : pin.addresses) {
      Area* area = memory.areas.Find(address);
      if (area == nullptr) continue;  // not managed: it is where it is
      PageNumber page = area->PageOf(address);
      PageEntry& entry = *memory.pages.Find(page);
      if (entry.page_state() == PageState::kResident) {
        if (!entry.has(PageEntry::kPinned)) policy_->OnDrop(entry.link);
        entry.set(PageEntry::kPinned);
        pin.pages.push_back(page);
        count_.pinned_pages.Add();
        any = true;
        continue;
      }
      pin.addresses[kept++] = address;
      bool waits = entry.page_state() == PageState::kEvicting || entry.page_state() == PageState::kFetching;
      if (!waits) any |= Serve(memory, {address, now_ns, true}, now_ns) == Served::kDone;
      if (killed_) return true;
    }
    pin.addresses.resize(kept);
    if (kept == 0 && pin.done) {
      Done done = std::move(pin.done);
      pin.done = nullptr;
      done(absl::OkStatus());
      any = true;
    }
  }
  if (now_ns < pin_check_ns_) return any;
  pin_check_ns_ = now_ns + kPinCheckNs;
  for (std::size_t i = pins_.size(); i-- > 0;) {
    if (memory.source->ThreadAlive(pins_[i].thread)) continue;
    Pin pin = std::move(pins_[i]);
    pins_.erase(pins_.begin() + static_cast<std::ptrdiff_t>(i));
    if (pin.done) pin.done(absl::CancelledError("the thread is gone"));
    for (PageNumber page : pin.pages) {
      PageEntry* entry = memory.pages.Find(page);
      if (entry == nullptr || !entry->has(PageEntry::kPinned) || IsPinned(page)) continue;
      entry->clear(PageEntry::kPinned);
      if (entry->page_state() == PageState::kResident) policy_->OnListed(entry->link);
    }
  }
  return any;
}

}  // namespace ashlar::pnode
