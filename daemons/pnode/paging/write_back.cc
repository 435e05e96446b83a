// From dirty slot to acknowledged. 10-paging §10.
#include <algorithm>

#include "common/base/crc32c.h"
#include "daemons/pnode/paging/cookie.h"
#include "daemons/pnode/paging/program.h"

namespace ashlar::pnode {
namespace {

constexpr std::uint64_t kResendNs = 2'000'000;
constexpr std::size_t kMaxTrims = 256;  // in one call

}  // namespace

bool Program::FlushDirty(std::uint64_t now_ns) {
  if (root().gone) return false;
  if (recheck_blocked_) RecheckBlocked();
  bool any = false;
  while (!store_full_ && now_ns >= resend_ns_ && !killed_) {
    std::uint32_t oldest = victims_.Oldest(SlotState::kDirty);
    if (oldest == VictimArea::kNone) break;
    bool short_of_slots = victims_.Available() < mover_->max_batch();
    bool full = victims_.count(SlotState::kDirty) - blocked_.size() >= PageStore::kMaxWriteBackPages ||
                victims_.count(SlotState::kDirty) < blocked_.size();
    if (!full && !short_of_slots && now_ns < victims_.slot(oldest).since_ns + kWriteBackDelayNs) break;
    dirty_pages_.clear();
    for (std::uint32_t i = oldest; i != VictimArea::kNone && dirty_pages_.size() < PageStore::kMaxWriteBackPages;) {
      std::uint32_t next = victims_.NextOf(i);
      const VictimArea::Slot& slot = victims_.slot(i);
      if (!MaySend(slot)) {
        victims_.SetBlocked(i, true);
        blocked_.push_back(i);
      } else {
        std::span<const std::byte> bytes = slot.all_zero ? std::span<const std::byte>{} : victims_.bytes(i);
        dirty_pages_.push_back({slot.page, slot.version, bytes, PageCrc32c(config_.space, slot.page, slot.version, bytes),
                                WriteBackCookie(number_, i)});
      }
      i = next;
    }
    if (dirty_pages_.empty()) continue;
    absl::Status status = context_.store.WriteBack(config_.space, dirty_pages_);
    if (absl::IsResourceExhausted(status)) {
      store_full_ = sending_ > 0;  // else nothing of ours comes back to tell: ask again in a while
      if (!store_full_) resend_ns_ = now_ns + kResendNs;
      break;
    }
    if (!status.ok()) {
      NoteTrouble(status, "write-back");
      resend_ns_ = now_ns + kResendNs;
      break;
    }
    for (const DirtyPage& page : dirty_pages_) victims_.MakeSending(CookieIndex(page.cookie));
    sending_ += static_cast<std::uint32_t>(dirty_pages_.size());
    any = true;
  }
  return any;
}

bool Program::MaySend(const VictimArea::Slot& slot) {
  bool can_push = false;
  return (!live_children() && groups_.empty()) || !ChildNeeds(slot.page, &can_push);
}

// Slots that waited for an older write-back of their page, or for children to get the version that goes away.
void Program::RecheckBlocked() {
  recheck_blocked_ = false;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < blocked_.size(); ++i) {
    std::uint32_t index = blocked_[i];
    const VictimArea::Slot& slot = victims_.slot(index);
    if (slot.state != SlotState::kDirty || !slot.blocked) continue;  // superseded or dropped
    bool can_push = false;
    bool wait = victims_.HasOrphan(slot.page) || ChildNeeds(slot.page, &can_push);
    if (!wait) {
      victims_.SetBlocked(index, false);
      continue;
    }
    blocked_[kept++] = index;
  }
  blocked_.resize(kept);
  // Pushes: one fetch per page that some child still reads at the home.
  for (std::uint32_t index : blocked_) {
    bool can_push = false;
    PageNumber page = victims_.slot(index).page;
    if (!ChildNeeds(page, &can_push) || !can_push) continue;
    if (!PostPush(page)) {
      recheck_blocked_ = true;  // no buffer now
      break;
    }
  }
}

void Program::OnWrittenBack(std::uint32_t index, const absl::Status& status, AckLevel level) {
  if (lost_ || ended_) return;
  const VictimArea::Slot& slot = victims_.slot(index);
  --sending_;
  store_full_ = false;
  std::uint64_t now_ns = context_.clock.NowNs();
  bool orphan = slot.state == SlotState::kOrphan;
  if (orphan) recheck_blocked_ = true;
  bool kept = status.ok() && level >= config_.ack_level;
  PageNumber page = slot.page;
  Version version = slot.version;
  std::uint64_t since_ns = slot.since_ns;
  victims_.OnSent(index, kept);
  if (root().gone) return;
  if (!kept) {
    count_.write_back_retries.Add();
    resend_ns_ = now_ns + kResendNs;
    if (!absl::IsCancelled(status)) {
      NoteTrouble(status.ok() ? absl::UnavailableError("acknowledged below the wanted level") : status, "write-back");
    }
    return;
  }
  NoteSuccess();
  count_.written_back_pages.Add();
  count_.write_back_ns.Add(now_ns - since_ns);
  if (orphan) return;
  PageEntry* entry = root().pages.Find(page);
  if (entry == nullptr || entry->page_state() != PageState::kStaged || entry->link != index) return;
  if (Version(entry->version) != version) return;
  if (Step(root(), *entry, PageEvent::kAcked, page)) entry->link = LeaveStamp();
}

void Program::AddTrim(TrimRange range) {
  std::vector<TrimRange>& list = live_children() ? deferred_trims_ : trims_;
  if (!list.empty() && list.back().first_page.value() + list.back().page_count == range.first_page.value() &&
      list.back().up_to_version == range.up_to_version) {
    list.back().page_count += range.page_count;
    return;
  }
  list.push_back(range);
}

void Program::FlushTrims() {
  if (trims_.empty() || root().gone) return;
  for (std::size_t i = 0; i < trims_.size(); i += kMaxTrims) {
    context_.store.Trim(config_.space, std::span(trims_).subspan(i, std::min(kMaxTrims, trims_.size() - i)));
  }
  trims_.clear();
}

}  // namespace ashlar::pnode
