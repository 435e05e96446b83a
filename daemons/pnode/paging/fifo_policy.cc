#include "daemons/pnode/paging/fifo_policy.h"

namespace ashlar::pnode {

void FifoPolicy::OnResident(std::uint32_t index) {
  ResidentSet::Page& page = pages_[index];
  page.previous = tail_;
  page.next = ResidentSet::kNone;
  page.entered = ++clock_;
  (tail_ == ResidentSet::kNone ? head_ : pages_[tail_].next) = index;
  tail_ = index;
  ++listed_;
}

void FifoPolicy::OnDrop(std::uint32_t index) {
  ResidentSet::Page& page = pages_[index];
  (page.previous == ResidentSet::kNone ? head_ : pages_[page.previous].next) = page.next;
  (page.next == ResidentSet::kNone ? tail_ : pages_[page.next].previous) = page.previous;
  --listed_;
}

std::size_t FifoPolicy::ChooseRun(absl::FunctionRef<std::uint32_t(PageNumber)> find, std::span<std::uint32_t> into) {
  if (into.empty()) return 0;
  // Bound: each hot page passes once and is not hot any more.
  while (head_ != ResidentSet::kNone && pages_[head_].hot) {
    std::uint32_t index = head_;
    OnDrop(index);
    pages_[index].hot = false;
    OnResident(index);
  }
  if (head_ == ResidentSet::kNone) return 0;
  std::uint32_t oldest_entered = pages_[head_].entered;
  std::uint32_t similar_age = listed_ / 2;
  std::uint64_t window = pages_[head_].page.value() / kWindowPages * kWindowPages;
  into[0] = head_;
  std::size_t taken = 1;
  for (std::uint64_t page = window; page < window + kWindowPages && taken < into.size(); ++page) {
    std::uint32_t index = find(PageNumber(page));
    if (index == ResidentSet::kNone || index == into[0] || pages_[index].hot) continue;
    if (pages_[index].entered - oldest_entered > similar_age) continue;
    into[taken++] = index;
  }
  for (std::size_t i = 0; i < taken; ++i) OnDrop(into[i]);
  return taken;
}

}  // namespace ashlar::pnode
