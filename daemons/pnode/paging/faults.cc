// Serving faults: zero pages, victim slots, fetches and the pages fetched along with them. 10-paging §8, §11.
#include <errno.h>

#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "daemons/pnode/paging/cookie.h"
#include "daemons/pnode/paging/program.h"

namespace ashlar::pnode {
namespace {

using PageProgress = FetchPool::PageProgress;

constexpr std::uint64_t kIdleAheadNs = 20'000'000;  // a stream that does not arrive by then has died
constexpr std::uint64_t kStuckNs = 50'000'000;      // at the hard cap without progress: serve over it, and count
constexpr std::uint32_t kMaxAheadGroups = 4;        // windows ahead of a stream that has proved itself
constexpr std::uint32_t kMaxMismatches = 3;         // fetches with the wrong bytes before they count as lost

const std::array<std::byte, StreamDetector::kMaxZeroWindow * kPageBytes> kZeroPages{};

AddressRange PageAt(std::uint64_t address) { return {address, address + kPageBytes}; }

}  // namespace

bool Program::HasRoom() const { return over_budget_allowed_ || resident_.size() + fetching_ < resident_limit_; }

bool Program::ServeParked(Memory& memory, std::uint64_t now_ns) {
  if (memory.parked.empty() || memory.gone || !memory.settled()) return false;
  bool served = false;
  std::size_t kept = 0;
  bool lacks_room = false;
  for (std::size_t i = 0; i < memory.parked.size(); ++i) {
    ParkedFault fault = memory.parked[i];
    if (killed_ || memory.gone) break;
    if (Serve(memory, fault, now_ns) == Served::kDone) {
      served = true;
      continue;
    }
    lacks_room |= memory.root && !HasRoom();
    memory.parked[kept++] = fault;
  }
  if (!killed_ && !memory.gone) memory.parked.resize(kept);
  if (!memory.root) return served;
  if (!lacks_room) {
    stuck_since_ns_ = 0;
  } else if (stuck_since_ns_ == 0) {
    stuck_since_ns_ = now_ns;
  } else if (now_ns - stuck_since_ns_ > kStuckNs && victims_.Available() > 0 && batch_.empty() && !over_budget_allowed_) {
    // Nothing can be evicted (all pinned or shared), and it is not the write-back that stalls: exceed the limit by these.
    over_budget_allowed_ = true;
    count_.over_budget.Add(kept);
    if (budget_log_.Allow(now_ns)) {
      log::Warn("paging: over budget, nothing can be evicted space={:x} resident_pages={} limit_pages={} left_out={}",
                config_.space.value(), resident_.size(), resident_limit_, budget_log_.TakeLeftOut());
    }
    served |= ServeParked(memory, now_ns);
    over_budget_allowed_ = false;
    stuck_since_ns_ = memory.parked.empty() ? 0 : now_ns;
  }
  return served;
}

Program::Served Program::Serve(Memory& memory, const ParkedFault& fault, std::uint64_t now_ns) {
  std::uint64_t address = fault.address & ~std::uint64_t{kPageBytes - 1};
  Area* area = memory.areas.Find(address);
  if (area == nullptr) {
    if (memory.root && !batch_.empty()) return Served::kPark;  // it may be the next event that explains it
    if (!ClaimUnknown(memory, address, now_ns)) {
      memory.source->Wake(PageAt(address));  // unmapped meanwhile: the thread sees for itself
      return Served::kDone;
    }
    area = memory.areas.Find(address);
    if (area == nullptr) return Served::kPark;
  }
  PageNumber page = area->PageOf(address);
  PageEntry* entry = memory.pages.Find(page);
  ASHLAR_CHECK(entry != nullptr, "an area's pages have entries; page={}", page.value());
  ParkedFault at{address, fault.read_ns, fault.write, fault.thread};
  switch (OnFault(entry->page_state())) {
    case FaultAction::kPark: return Served::kPark;
    case FaultAction::kFillZero:
      if (entry->page_state() == PageState::kZero && memory.root && !HasRoom()) return Served::kPark;
      return FillZero(memory, *area, *entry, page, at);
    case FaultAction::kFillBytes:
      if (!memory.root) return FillFromHeld(memory, *entry, page, address);
      if (!HasRoom()) return Served::kPark;
      return FillFromSlot(memory, *entry, page, address, entry->link);
    case FaultAction::kJoin: return JoinFetch(memory, *entry, address, at, now_ns);
    case FaultAction::kFetch: {
      if (memory.root && !HasRoom()) return Served::kPark;
      std::uint32_t slot = memory.root ? victims_.Find(page) : VictimArea::kNone;
      if (slot != VictimArea::kNone && victims_.slot(slot).version == Version(entry->version)) {
        return FillFromSlot(memory, *entry, page, address, slot);
      }
      return StartFetch(memory, *area, page, at, now_ns);
    }
  }
  return Served::kPark;
}

// How many pages from `first` on, at most `most`, read as zeros and may be filled together. `first` is one.
std::uint32_t Program::ZeroRun(Memory& memory, const Area& area, PageNumber first, std::uint32_t most) {
  std::uint64_t used = resident_.size() + fetching_;
  std::uint64_t room = used < resident_limit_ ? resident_limit_ - used : 1;
  std::uint64_t end = std::min({area.end_page(), first.value() + most, first.value() + room});
  std::uint64_t page = first.value() + 1;
  while (page < end && memory.pages.Find(PageNumber(page))->page_state() == PageState::kZero) ++page;
  return static_cast<std::uint32_t>(page - first.value());
}

Program::Served Program::FillZero(Memory& memory, Area& area, PageEntry& entry, PageNumber page, const ParkedFault& fault) {
  bool was_resident = entry.page_state() == PageState::kResident;
  FaultSource::Filled filled;
  if (was_resident || fault.write) {
    // Who writes his way upwards through new memory gets the next pages too. They are no stream to the policy: what is
    // written once is read later, as often as not.
    bool walks = !was_resident && memory.root;
    std::uint32_t most = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(resident_limit_ / 64, 1, StreamDetector::kMaxZeroWindow));
    std::uint32_t count = walks ? ZeroRun(memory, area, page, area.first_touches.OnMiss(page.value(), most)) : 1;
    filled = memory.source->Copy(fault.address, std::span(kZeroPages).first(count * kPageBytes), /*wake=*/true);
  } else {
    filled.error = memory.source->ZeroFill(fault.address);
    filled.pages = filled.error == 0 ? 1 : 0;
  }
  if (filled.pages == 0) return AfterFailedFill(memory, entry, page, fault.address, filled.error);
  count_.faults_zero.Add();
  count_.zero_ahead_pages.Add(filled.pages - 1);  // an obstacle behind the first is the business of who faults there
  for (std::size_t i = 0; i < filled.pages; ++i) {
    PageNumber filled_page(page.value() + i);
    PageEntry& filled_entry = *memory.pages.Find(filled_page);
    if (!Step(memory, filled_entry, PageEvent::kFilled, filled_page)) return Served::kDone;
    if (was_resident) {
      entry.clear(PageEntry::kHashValid);  // the program had dropped what the hash was of
    } else {
      MakeResident(memory, filled_entry, filled_page, nullptr, {});
    }
  }
  return Served::kDone;
}

Program::Served Program::FillFromSlot(Memory& memory, PageEntry& entry, PageNumber page, std::uint64_t address,
                                      std::uint32_t slot) {
  FaultSource::Filled filled = memory.source->Copy(address, victims_.bytes(slot), /*wake=*/true);
  if (filled.error != 0) return AfterFailedFill(memory, entry, page, address, filled.error);
  if (!Step(memory, entry, PageEvent::kFilled, page)) return Served::kDone;
  PageHash hash = victims_.slot(slot).hash;
  MakeResident(memory, entry, page, &hash, {.returns = static_cast<std::uint8_t>(entry.returns() + 1)});
  count_.faults_victim.Add();
  return Served::kDone;
}

Program::Served Program::FillFromHeld(Memory& memory, PageEntry& entry, PageNumber page, std::uint64_t address) {
  auto held = memory.held.find(page.value());
  ASHLAR_CHECK(held != memory.held.end(), "a child's staged page is held; page={}", page.value());
  int error = memory.source->Copy(address, {held->second.get(), kPageBytes}, /*wake=*/true).error;
  if (error != 0) return AfterFailedFill(memory, entry, page, address, error);
  if (!Step(memory, entry, PageEvent::kFilled, page)) return Served::kDone;
  MakeResident(memory, entry, page, nullptr, {});
  memory.held.erase(held);
  count_.faults_victim.Add();
  return Served::kDone;
}

Program::Served Program::AfterFailedFill(Memory& memory, PageEntry& entry, PageNumber page, std::uint64_t address, int error) {
  switch (error) {
    case EEXIST:
      count_.faults_duplicate.Add();
      if (!Step(memory, entry, PageEvent::kFoundPresent, page)) return Served::kDone;
      if (memory.root && entry.page_state() == PageState::kZero) suspects_.push_back(PageAt(address));
      memory.source->Wake(PageAt(address));
      return Served::kDone;
    case ESRCH:
      memory.gone = true;
      return Served::kDone;
    case ENOENT:
    case EINVAL:
      // Not mapped or not ours any more: an event will tell. The thread faults again and sees.
      count_.fill_gone.Add();
      memory.source->Wake(PageAt(address));
      return Served::kDone;
    default:  // EAGAIN; ENOMEM of the host is waited out as well
      count_.fill_again.Add();
      fill_again_ = true;
      return Served::kPark;
  }
}

void Program::MakeResident(Memory& memory, PageEntry& entry, PageNumber page, const PageHash* hash, Arrival arrival) {
  if (!memory.root) {
    ++memory.resident;
    ++memory.filled;
    entry.link = 0;
    return;
  }
  std::uint32_t index = resident_.Add(page);
  entry.link = index;
  if (hash != nullptr) {
    resident_[index].hash = *hash;
    entry.hash = hash->low32();
    entry.set(PageEntry::kHashValid);
  } else {
    entry.clear(PageEntry::kHashValid);
  }
  entry.set_returns(arrival.returns);
  if (!entry.has(PageEntry::kPinned)) policy_->OnResident(index, arrival);
}

void Program::LeaveResident(Memory& memory, PageEntry& entry) {
  if (!memory.root) {
    --memory.resident;
    memory.filled = std::min(memory.filled, memory.resident);
    return;
  }
  if (!entry.has(PageEntry::kPinned)) policy_->OnDrop(entry.link);
  resident_.Remove(entry.link);
}

// How many pages from `first` on, at most `most`, can be fetched together. At least 1: `first` is remote.
std::uint32_t Program::RemoteRun(Memory& memory, const Area& area, PageNumber first, std::uint32_t most) {
  std::uint64_t end = std::min(area.end_page(), first.value() + most);
  if (memory.root) {
    std::uint64_t used = resident_.size() + fetching_;
    end = std::min(end, first.value() + (used < resident_limit_ ? resident_limit_ - used : 0));
  }
  std::uint64_t page = first.value();
  for (; page < end; ++page) {
    PageEntry* entry = memory.pages.Find(PageNumber(page));
    if (entry->page_state() != PageState::kRemote) break;
    if (memory.root && victims_.Find(PageNumber(page)) != VictimArea::kNone) break;
  }
  return static_cast<std::uint32_t>(page - first.value());
}

Program::Served Program::StartFetch(Memory& memory, Area& area, PageNumber page, const ParkedFault& fault, std::uint64_t now_ns) {
  if (context_.fetches.free_count() == 0) return Served::kPark;
  std::uint32_t window = area.stream.OnMiss(page.value());
  std::uint32_t count = std::max(1u, RemoteRun(memory, area, page, window));
  std::uint32_t index = PostFetch(&memory, page, count, window > 1 ? FetchKind::kStream : FetchKind::kSingle, now_ns);
  if (index == FetchPool::kNone) return Served::kDone;  // killed
  FetchPool::Page& wanted = context_.fetches.group(index).pages[0];
  wanted.wanted = true;
  wanted.fault_ns = fault.read_ns;
  AddWaiter(wanted, fault);
  count_.faults_remote.Add();
  count_.queue_ns.Add(now_ns - fault.read_ns);
  if (window == StreamDetector::kMaxWindow && count == window) {
    FetchAhead(memory, area, PageNumber(page.value() + count), 1, now_ns);
  }
  return Served::kDone;
}

// The next windows of a stream go into our buffers and not into the program: the first fault on one needs no network and posts
// the windows after it, so the wire works while the program reads. Fetches what is missing of `groups` windows from `page` on.
void Program::FetchAhead(Memory& memory, Area& area, PageNumber page, std::uint32_t groups, std::uint64_t now_ns) {
  for (; groups > 0 && page.value() < area.end_page() && !killed_; --groups) {
    const PageEntry& entry = *memory.pages.Find(page);
    std::uint32_t count = 0;
    if (entry.page_state() == PageState::kFetching) {
      const FetchPool::Group& group = context_.fetches.group(entry.link / FetchPool::kGroupPages);
      if (!group.ahead || group.pages[0].page != page) return;
      count = group.count;
    } else {
      if (context_.fetches.free_count() <= context_.fetches.group_count() / 4) return;
      count = RemoteRun(memory, area, page, StreamDetector::kMaxWindow);
      if (count == 0) return;
      PostFetch(&memory, page, count, FetchKind::kStreamAhead, now_ns);
    }
    page = PageNumber(page.value() + count);
  }
}

// The fetch group ahead that begins at `page`, if all of it has arrived; kNone: there is none.
std::uint32_t Program::ArrivedAhead(Memory& memory, const Area& area, PageNumber page) {
  if (page.value() >= area.end_page()) return FetchPool::kNone;
  const PageEntry& entry = *memory.pages.Find(page);
  if (entry.page_state() != PageState::kFetching) return FetchPool::kNone;
  const std::uint32_t index = entry.link / FetchPool::kGroupPages;
  const FetchPool::Group& group = context_.fetches.group(index);
  if (!group.ahead || group.pages[0].page != page) return FetchPool::kNone;
  for (std::uint32_t i = 0; i < group.count; ++i) {
    if (group.pages[i].progress != PageProgress::kArrived) return FetchPool::kNone;
  }
  return index;
}

std::uint32_t Program::PostFetch(Memory* memory, PageNumber first, std::uint32_t count, FetchKind kind, std::uint64_t now_ns) {
  std::uint32_t index = context_.fetches.Take();
  if (index == FetchPool::kNone) return index;
  FetchPool::Group& group = context_.fetches.group(index);
  group.program = this;
  group.memory = memory;
  group.count = count;
  const bool ahead = kind == FetchKind::kStreamAhead;
  group.stream = kind != FetchKind::kSingle;
  group.ahead = ahead;
  group.posted_ns = now_ns;
  groups_.push_back(index);
  std::array<FetchRequest, FetchPool::kGroupPages> requests;
  for (std::uint32_t i = 0; i < count; ++i) {
    PageNumber page(first.value() + i);
    PageEntry* entry = memory->pages.Find(page);
    std::uint32_t fetch = index * FetchPool::kGroupPages + i;
    FetchPool::Page& slot = group.pages[i];
    slot.left_soon_ago = LeftSoonAgo(*entry);
    if (!Step(*memory, *entry, PageEvent::kFetchPosted, page)) return FetchPool::kNone;
    entry->link = fetch;
    if (memory->root) ++fetching_;
    slot.progress = PageProgress::kPosted;
    slot.page = page;
    slot.version = Version(entry->version);
    requests[i] = {config_.space, page, slot.version, context_.fetches.bytes(fetch), fetch};
  }
  context_.store.Fetch({requests.data(), count});
  if (count > 1 || ahead) count_.prefetched_pages.Add(ahead ? count : count - 1);
  return index;
}

void Program::AddWaiter(FetchPool::Page& page, const ParkedFault& fault) {
  if (fault.thread != 0 && page.waiter_count < page.waiters.size()) page.waiters[page.waiter_count++] = {fault.thread, fault.read_ns};
}

void Program::TellWaits(FetchPool::Page& page, std::uint64_t now_ns) {
  for (std::uint8_t i = 0; i < page.waiter_count; ++i) {
    const FetchPool::Waiter& waiter = page.waiters[i];
    context_.events.OnMissServed(waiter.thread, now_ns - waiter.read_ns);
  }
  page.waiter_count = 0;
}

Program::Served Program::JoinFetch(Memory& memory, PageEntry& entry, std::uint64_t address, const ParkedFault& fault,
                                   std::uint64_t now_ns) {
  std::uint32_t index = entry.link / FetchPool::kGroupPages;
  FetchPool::Group& group = context_.fetches.group(index);
  FetchPool::Page& slot = context_.fetches.page(entry.link);
  if (!slot.wanted) slot.fault_ns = fault.read_ns;
  slot.wanted = true;
  AddWaiter(slot, fault);
  if (!group.ahead) return Served::kDone;
  group.ahead = false;
  count_.faults_ahead.Add();
  PageNumber next = group.pages[0].page;
  const std::uint32_t most = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(resident_limit_ / 1024, 1, kMaxAheadGroups));
  // The windows behind it that are there too go in with it, except the last: its fault will say that the stream still runs.
  for (std::uint32_t installed = 1;; ++installed) {
    const PageNumber first = next;
    next = PageNumber(first.value() + context_.fetches.group(index).count);
    context_.fetches.group(index).ahead = false;
    if (!InstallGroup(index, now_ns)) arrived_ = true;
    if (killed_ || memory.gone) return Served::kDone;
    Area* area = memory.areas.Find(address);
    if (area == nullptr) return Served::kDone;
    area->stream.OnMiss(first.value());
    const std::uint32_t following = installed < most ? ArrivedAhead(memory, *area, next) : FetchPool::kNone;
    const bool is_last = following == FetchPool::kNone ||
                         ArrivedAhead(memory, *area, PageNumber(next.value() + context_.fetches.group(following).count)) == FetchPool::kNone;
    if (is_last) {
      FetchAhead(memory, *area, next, std::min(installed + 1, most), now_ns);
      return Served::kDone;
    }
    index = following;
  }
}

void Program::OnFetched(std::uint32_t fetch, const absl::Status& status) {
  std::uint32_t index = fetch / FetchPool::kGroupPages;
  FetchPool::Group& group = context_.fetches.group(index);
  FetchPool::Page& slot = context_.fetches.page(fetch);
  std::uint64_t now_ns = context_.clock.NowNs();
  if (slot.progress == PageProgress::kAbandoned) {
    slot.progress = PageProgress::kUnused;
    ReleaseIfDone(index);
    return;
  }
  ASHLAR_CHECK(slot.progress == PageProgress::kPosted, "a fetch ends once; fetch={}", fetch);
  absl::Status result = status;
  if (result.ok()) {
    slot.hash = HashPage(context_.fetches.bytes(fetch).data(), hash_seed_);
    Memory* memory = group.memory;
    PageEntry* entry = memory != nullptr ? memory->pages.Find(slot.page) : nullptr;
    if (entry != nullptr && entry->has(PageEntry::kHashValid) && entry->hash != slot.hash.low32()) {
      result = slot.attempts + 1 >= kMaxMismatches
                   ? absl::DataLossError(absl::StrCat("page ", slot.page.value(), " came back with other bytes than were sent"))
                   : absl::UnavailableError("a page came back with other bytes than were sent");
    }
  }
  if (result.ok()) {
    slot.progress = PageProgress::kArrived;
    group.arrived_ns = now_ns;
    arrived_ = true;
    count_.fetched_pages.Add();
    NoteSuccess();
    return;
  }
  slot.progress = PageProgress::kFailed;
  fetch_failed_ = true;
  slot.attempts++;
  slot.retry_ns = now_ns + (std::uint64_t{1'000'000} << std::min(slot.attempts, 6u));
  if (result.code() == absl::StatusCode::kDataLoss) {
    Kill(absl::StrCat("a page of its memory is lost: ", std::string(result.message())));
  } else {
    count_.fetch_retries.Add();
    NoteTrouble(result, "fetch");
  }
}

void Program::RetryFetches(std::uint64_t now_ns) {
  if (!fetch_failed_) return;
  fetch_failed_ = false;
  for (std::uint32_t index : groups_) {
    FetchPool::Group& group = context_.fetches.group(index);
    for (std::uint32_t i = 0; i < group.count; ++i) {
      FetchPool::Page& slot = group.pages[i];
      if (slot.progress != PageProgress::kFailed) continue;
      if (slot.retry_ns > now_ns) {
        fetch_failed_ = true;
        continue;
      }
      std::uint32_t fetch = index * FetchPool::kGroupPages + i;
      slot.progress = PageProgress::kPosted;
      group.posted_ns = now_ns;
      FetchRequest request{config_.space, slot.page, slot.version, context_.fetches.bytes(fetch), fetch};
      context_.store.Fetch({&request, 1});
    }
  }
}

bool Program::InstallArrived(std::uint64_t now_ns) {
  arrived_ = false;
  bool any = false;
  for (std::size_t i = groups_.size(); i-- > 0 && !killed_;) {
    if (i >= groups_.size()) continue;
    std::uint32_t index = groups_[i];
    FetchPool::Group& group = context_.fetches.group(index);
    if (group.memory == nullptr) {
      if (group.pages[0].progress == PageProgress::kArrived) {
        OnPushed(index);
        any = true;
      }
      continue;
    }
    if (group.ahead) continue;
    if (InstallGroup(index, now_ns)) {
      any = true;
    } else {
      arrived_ = true;  // EAGAIN: not work, or the owner would spin without letting the program's thread run
    }
  }
  return any;
}

bool Program::InstallGroup(std::uint32_t index, std::uint64_t now_ns) {
  FetchPool::Group& group = context_.fetches.group(index);
  if (!group.memory->settled()) return false;  // where its pages are now is not known
  bool all = true;
  // What has arrived side by side is one COPY, the wanted page with it: woken before its neighbours are there, a walking
  // thread would run into the next of them at once, and its second fault costs more than the longer COPY (measured: nearly
  // every window did).
  for (std::uint32_t i = 0; i < group.count && all && !killed_;) {
    std::uint32_t end = i;
    while (end < group.count && group.pages[end].progress == PageProgress::kArrived) ++end;
    if (end > i) all &= InstallRun(index, i, end - i, now_ns);
    i = end + 1;
  }
  if (group.memory->root == false) recheck_blocked_ = true;
  ReleaseIfDone(index);
  return all;
}

bool Program::InstallRun(std::uint32_t index, std::uint32_t from, std::uint32_t count, std::uint64_t now_ns) {
  FetchPool::Group& group = context_.fetches.group(index);
  Memory& memory = *group.memory;
  if (memory.gone) return true;  // DropMemory follows
  std::uint32_t end = from + count;
  while (from < end && !killed_) {
    std::uint64_t address = memory.areas.AddressOf(group.pages[from].page).value_or(0);
    ASHLAR_CHECK(address != 0, "a page that is fetched is mapped; page={}", group.pages[from].page.value());
    bool wake = group.pages[from].wanted;
    std::uint32_t run = 1;
    while (from + run < end && memory.areas.AddressOf(group.pages[from + run].page) == address + run * kPageBytes) {
      wake |= group.pages[from + run].wanted;
      ++run;
    }
    std::uint32_t fetch = index * FetchPool::kGroupPages + from;
    std::uint64_t before_ns = context_.clock.NowNs();
    for (std::uint32_t i = from; i < from + run; ++i) TellWaits(group.pages[i], before_ns);
    FaultSource::Filled filled = memory.source->Copy(address, {context_.fetches.bytes(fetch).data(), run * kPageBytes}, wake);
    std::uint64_t after_ns = context_.clock.NowNs();
    count_.copy_ns.Add(after_ns - before_ns);
    for (std::uint32_t i = from; i < from + filled.pages; ++i) {
      FetchPool::Page& slot = group.pages[i];
      PageEntry* entry = memory.pages.Find(slot.page);
      if (!Step(memory, *entry, PageEvent::kFilled, slot.page)) return true;
      // What walks come for a second time soon is worth no more than a new page, but no less.
      Arrival arrival{.stream = group.stream && !slot.left_soon_ago};
      if (!group.stream && slot.left_soon_ago) arrival.returns = static_cast<std::uint8_t>(entry->returns() + 1);
      MakeResident(memory, *entry, slot.page, &slot.hash, arrival);
      slot.progress = PageProgress::kUnused;
      if (memory.root) --fetching_;
      if (slot.wanted) {
        count_.wire_ns.Add(group.arrived_ns - group.posted_ns);
        count_.total_ns.Add(after_ns - slot.fault_ns);
      }
    }
    from += static_cast<std::uint32_t>(filled.pages);
    if (filled.error == 0) continue;
    FetchPool::Page& slot = group.pages[from];
    PageEntry* entry = memory.pages.Find(slot.page);
    address += filled.pages * kPageBytes;
    if (AfterFailedFill(memory, *entry, slot.page, address, filled.error) == Served::kPark) return false;
    if (killed_ || memory.gone) return true;
    // The page is not mapped there now, an event will tell. What was fetched is not kept: it may be wanted elsewhere, later.
    if (!Step(memory, *entry, PageEvent::kFetchDropped, slot.page)) return true;
    entry->link = 0;
    slot.progress = PageProgress::kUnused;
    if (memory.root) --fetching_;
    ++from;
  }
  (void)now_ns;
  return true;
}

void Program::DropFetch(std::uint32_t fetch) {
  std::uint32_t index = fetch / FetchPool::kGroupPages;
  FetchPool::Group& group = context_.fetches.group(index);
  FetchPool::Page& slot = context_.fetches.page(fetch);
  slot.progress = slot.progress == PageProgress::kPosted ? PageProgress::kAbandoned : PageProgress::kUnused;
  if (group.memory->root) --fetching_;
  else recheck_blocked_ = true;
  ReleaseIfDone(index);
}

void Program::ReleaseIfDone(std::uint32_t index) {
  FetchPool::Group& group = context_.fetches.group(index);
  for (std::uint32_t i = 0; i < group.count; ++i) {
    if (group.pages[i].progress != PageProgress::kUnused) return;
  }
  auto at = std::find(groups_.begin(), groups_.end(), index);
  if (at == groups_.end()) return;
  *at = groups_.back();
  groups_.pop_back();
  context_.fetches.Release(index);
}

bool Program::DropIdleAhead(std::uint64_t now_ns, bool all) {
  bool any = false;
  for (std::size_t i = groups_.size(); i-- > 0;) {
    std::uint32_t index = groups_[i];
    FetchPool::Group& group = context_.fetches.group(index);
    if (!group.ahead || (!all && now_ns - group.posted_ns < kIdleAheadNs)) continue;
    any = true;
    group.ahead = false;
    for (std::uint32_t k = 0; k < group.count; ++k) {
      FetchPool::Page& slot = group.pages[k];
      if (slot.progress == PageProgress::kUnused || slot.progress == PageProgress::kAbandoned) continue;
      PageEntry* entry = group.memory->pages.Find(slot.page);
      if (!Step(*group.memory, *entry, PageEvent::kFetchDropped, slot.page)) return true;
      entry->link = 0;
      slot.progress = slot.progress == PageProgress::kPosted ? PageProgress::kAbandoned : PageProgress::kUnused;
      if (group.memory->root) --fetching_;
    }
    if (!group.memory->root) recheck_blocked_ = true;
    ReleaseIfDone(index);
  }
  return any;
}

}  // namespace ashlar::pnode
