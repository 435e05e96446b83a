#include "daemons/pnode/remote_page_store/trim_queue.h"

#include <algorithm>

#include "common/base/check.h"

namespace ashlar::pnode {

bool TrimQueue::Add(const TrimRange& range, std::uint64_t after_ticket) {
  if (queue_.size() > taken_) {
    Entry& last = queue_.back();
    const std::uint64_t last_first = last.range.first_page.value(), first = range.first_page.value();
    // Joined only at equal versions: a higher up_to would kill a page of the other range that was written since.
    const bool touches = first == last_first + last.range.page_count || first + range.page_count == last_first;
    const bool fits = last.range.page_count + range.page_count <= UINT32_MAX;
    if (touches && fits && last.range.up_to_version == range.up_to_version) {
      last.range.first_page = std::min(last.range.first_page, range.first_page);
      last.range.page_count += range.page_count;
      last.after_ticket = after_ticket;
      return true;
    }
  }
  if (queue_.size() >= max_ranges_) return false;
  queue_.push_back({range, after_ticket});
  return true;
}

std::size_t TrimQueue::Peek(std::uint64_t oldest_ticket, std::span<fit::wire::TrimRange> out) {
  taken_ = 0;
  for (const Entry& entry : queue_) {
    if (taken_ == out.size() || entry.after_ticket >= oldest_ticket) break;
    out[taken_++] = {.first_page = entry.range.first_page.value(), .page_count = entry.range.page_count,
                     .up_to_version = entry.range.up_to_version.value(), .era = 0};
  }
  return taken_;
}

void TrimQueue::Confirm(std::size_t count) {
  ASHLAR_CHECK(count == taken_ && count <= queue_.size(), "confirmed {} of {} taken", count, taken_);
  queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
  taken_ = 0;
}

}  // namespace ashlar::pnode
