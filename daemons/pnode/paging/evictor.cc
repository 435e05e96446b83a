// Taking pages out of the program: budget, choice, MOVE batches. 10-paging §9.
#include <errno.h>

#include <algorithm>

#include "common/base/check.h"
#include "daemons/pnode/paging/program.h"

namespace ashlar::pnode {
namespace {

constexpr std::uint64_t kSlackBatches = 4;  // room for so many is kept by evicting behind the program, up to twice that
constexpr std::uint8_t kMaxRefusals = 3;    // EBUSY in a row, then the page rests
constexpr std::uint64_t kRestNs = 1'000'000'000;
constexpr std::uint64_t kPauseNs = 100'000;  // after a batch in which nothing moved

}  // namespace

std::uint64_t Program::CountedPages() const {
  std::uint64_t pages = resident_.size() + victims_.slot_count() + mover_->staging_pages();
  for (std::size_t i = 1; i < memories_.size(); ++i) pages += memories_[i]->filled;
  return pages;
}

// For PageEntry::link of a page that becomes remote.
std::uint32_t Program::LeaveStamp() const { return std::max(evictions_, 1u); }

// It is wanted again before as many others have left as fit in: it should not have been evicted.
bool Program::LeftSoonAgo(const PageEntry& entry) const {
  return entry.page_state() == PageState::kRemote && entry.link != 0 && evictions_ - entry.link < resident_limit_;
}

bool Program::WantsEviction(std::uint64_t now_ns) {
  if (root().gone || !batch_.empty() || !root().settled() || fill_again_ || now_ns < eviction_pause_ns_) return false;
  std::uint64_t used = resident_.size() + fetching_;
  const std::uint64_t slack = std::min<std::uint64_t>(kSlackBatches * mover_->max_batch(), resident_limit_ / 16);
  if (used + slack >= resident_limit_) evicting_down_ = true;
  if (used + 2 * slack <= resident_limit_) evicting_down_ = false;
  // While a batch is open no event is read: so none is started when a fault waits for something else than room.
  if (!root().parked.empty() && HasRoom()) return false;
  return evicting_down_;
}

bool Program::StartBatch(std::uint64_t now_ns) {
  if (!WantsEviction(now_ns)) return false;
  std::size_t most = std::min<std::size_t>(mover_->max_batch(), victims_.Available());
  std::vector<std::uint32_t> chosen(most);
  std::size_t count = 0;
  auto find = [this](PageNumber page) {
    PageEntry* entry = root().pages.Find(page);
    bool eligible = entry != nullptr && entry->page_state() == PageState::kResident && !entry->has(PageEntry::kPinned);
    return eligible ? entry->link : ResidentSet::kNone;
  };
  while (count < most) {
    std::size_t run = policy_->ChooseRun(find, std::span(chosen).subspan(count));
    if (run == 0) break;
    for (std::size_t i = count; i < count + run; ++i) {  // so that the next run does not find them
      PageNumber page = resident_[chosen[i]].page;
      if (!Step(root(), *root().pages.Find(page), PageEvent::kChosen, page)) return false;
    }
    count += run;
  }
  if (count == 0) return false;
  batch_.clear();
  move_requests_.clear();
  chosen.resize(count);
  auto address_of = [this](std::uint32_t index) {
    std::optional<std::uint64_t> address = root().areas.AddressOf(resident_[index].page);
    ASHLAR_CHECK(address.has_value(), "a resident page is mapped; page={}", resident_[index].page.value());
    return *address;
  };
  std::sort(chosen.begin(), chosen.end(), [&](std::uint32_t a, std::uint32_t b) { return address_of(a) < address_of(b); });
  for (std::uint32_t index : chosen) {
    std::uint32_t slot = victims_.Take();
    ASHLAR_CHECK(slot != VictimArea::kNone, "slots were counted before; wanted={}", count);
    batch_.push_back({index, slot, resident_[index].page});
    move_requests_.push_back({address_of(index), slot});
  }
  batch_started_ns_ = now_ns;
  mover_->StartMove(move_requests_);
  return true;
}

bool Program::FinishBatch(std::uint64_t now_ns) {
  if (batch_.empty() || root().gone || !mover_->MoveDone()) return false;
  count_.move_ns.Add(context_.clock.NowNs() - batch_started_ns_);
  std::vector<Evicting> batch;
  batch.swap(batch_);
  bool moved = false;
  for (std::size_t i = 0; i < batch.size() && !killed_; ++i) {
    int error = mover_->MoveResult(i);
    if (error == 0) {
      moved = true;
      OnMoved(batch[i], now_ns);
    } else {
      OnMoveRefused(batch[i], error, now_ns);
    }
  }
  batch.clear();
  batch_.swap(batch);  // keeps its capacity
  if (moved) {
    stuck_since_ns_ = 0;
  } else {
    eviction_pause_ns_ = now_ns + kPauseNs;
  }
  if (!unshare_.empty() && mover_->StartUnshare(unshare_)) {
    count_.unshare_pages.Add(unshare_.size());
    unshare_.clear();
  }
  if (unshare_.size() > 256) unshare_.clear();  // the helper is busy; these pages will be refused and named again
  return true;
}

void Program::OnMoved(const Evicting& item, std::uint64_t now_ns) {
  PageEntry& entry = *root().pages.Find(item.page);
  const std::byte* bytes = victims_.bytes(item.slot).data();
  PageHash hash = HashPage(bytes, hash_seed_);
  bool known = entry.has(PageEntry::kHashValid) && resident_[item.resident].hash == hash;
  resident_.Remove(item.resident);
  count_.evicted_pages.Add();
  ++evictions_;
  bool all_zero = !known && IsZeroPage(bytes);
  if (all_zero && entry.version == 0) {
    victims_.Return(item.slot);
    entry.link = 0;
    count_.zero_pages_dropped.Add();
    Step(root(), entry, PageEvent::kMovedZero, item.page);
    return;
  }
  if (known) {
    count_.skipped_pages.Add();
    std::uint32_t newest = victims_.Find(item.page);
    bool same = newest != VictimArea::kNone && victims_.slot(newest).version == Version(entry.version);
    if (same && victims_.slot(newest).state != SlotState::kClean) {  // it came back before its write-back ended
      victims_.Return(item.slot);
      entry.link = newest;
      Step(root(), entry, PageEvent::kMovedToSlot, item.page);
      return;
    }
    if (same) {
      victims_.Return(item.slot);
    } else {
      victims_.MakeClean(item.slot, {item.page, Version(entry.version), hash, false});
    }
    entry.link = LeaveStamp();
    Step(root(), entry, PageEvent::kMovedClean, item.page);
    return;
  }
  std::uint32_t older = victims_.Find(item.page);
  if (older != VictimArea::kNone && victims_.slot(older).state == SlotState::kDirty) count_.superseded_pages.Add();
  entry.version = (entry.version + 1) & kMaxVersion;
  entry.hash = hash.low32();
  entry.set(PageEntry::kHashValid);
  entry.link = item.slot;
  victims_.MakeDirty(item.slot, {item.page, Version(entry.version), hash, all_zero}, now_ns);
  if (victims_.HasOrphan(item.page)) {  // one write-back of a page at a time
    victims_.SetBlocked(item.slot, true);
    blocked_.push_back(item.slot);
  }
  Step(root(), entry, PageEvent::kMovedToSlot, item.page);
}

void Program::OnMoveRefused(const Evicting& item, int error, std::uint64_t now_ns) {
  PageEntry& entry = *root().pages.Find(item.page);
  victims_.Return(item.slot);
  if (error == ENOENT) {  // the program has dropped it: nothing is there, and nothing older may come back
    count_.move_hole.Add();
    resident_.Remove(item.resident);
    if (!Step(root(), entry, PageEvent::kMoveFoundHole, item.page)) return;
    entry.clear(PageEntry::kHashValid);
    entry.link = 0;
    victims_.Forget(item.page);
    if (entry.version != 0) AddTrim({item.page, 1, Version(entry.version)});
    return;
  }
  if (!Step(root(), entry, PageEvent::kMoveRefused, item.page)) return;
  bool rest = false;
  if (error == EBUSY) {
    count_.move_busy.Add();
    std::optional<std::uint64_t> address = root().areas.AddressOf(item.page);
    if (address.has_value() && unshare_.size() < 32) unshare_.push_back(*address);
    rest = ++resident_[item.resident].refusals >= kMaxRefusals;
  } else if (error == EINVAL) {
    count_.move_invalid.Add();  // mapped without write permission, locked by mlock, or at a border between two mappings
    rest = true;
  } else {
    count_.move_again.Add();
  }
  if (!rest) {
    policy_->OnListed(item.resident);
    return;
  }
  resident_[item.resident].refusals = 0;
  entry.set(PageEntry::kPinned);
  rests_.push_back({item.page, now_ns + kRestNs});
}

void Program::EndRests(std::uint64_t now_ns) {
  std::size_t ended = 0;
  while (ended < rests_.size() && rests_[ended].until_ns <= now_ns) {  // in order of time
    PageNumber page = rests_[ended++].page;
    PageEntry* entry = root().pages.Find(page);
    if (entry == nullptr || !entry->has(PageEntry::kPinned) || IsPinned(page)) continue;
    entry->clear(PageEntry::kPinned);
    if (entry->page_state() == PageState::kResident) policy_->OnListed(entry->link);
  }
  if (ended != 0) rests_.erase(rests_.begin(), rests_.begin() + static_cast<std::ptrdiff_t>(ended));
}

}  // namespace ashlar::pnode
