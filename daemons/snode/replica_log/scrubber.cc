#include "daemons/snode/replica_log/scrubber.h"

#include <algorithm>

namespace ashlar::snode {

Scrubber::Scrubber(std::uint64_t period_ns, const PageIndex& index, PageReader& reader, LogCounters& counters, const Clock& clock)
    : period_ns_(period_ns), index_(index), reader_(reader), counters_(counters), clock_(clock), next_ns_(clock.NowNs() + kMinPaceNs) {}

void Scrubber::BeginPass() {
  index_.ForEachSpace([this](SpaceId id, const SpaceRecord& space) {
    if (!space.pages.empty()) spaces_.push_back(id);
  });
  std::sort(spaces_.begin(), spaces_.end());
  next_page_ = 0;
}

std::vector<PageNumber> Scrubber::NextPages() {
  std::vector<PageNumber> pages;
  const SpaceRecord* space = index_.FindSpace(spaces_.back());
  if (space == nullptr) return pages;
  for (auto extent = space->extents.lower_bound(next_page_ / kExtentPages); extent != space->extents.end(); ++extent) {
    const std::uint64_t end = (extent->first + 1) * kExtentPages;
    for (std::uint64_t page = std::max(next_page_, extent->first * kExtentPages); page < end; ++page) {
      if (!space->pages.contains(page)) continue;
      pages.emplace_back(page);
      next_page_ = page + 1;
      if (pages.size() == PageReader::kMaxPages) return pages;
    }
  }
  return pages;
}

absl::Status Scrubber::Step(bool quiet) {
  if (period_ns_ == 0 || reading_ || !quiet || clock_.NowNs() < next_ns_) return absl::OkStatus();
  if (spaces_.empty()) BeginPass();
  std::vector<PageNumber> pages;
  while (!spaces_.empty() && (pages = NextPages()).empty()) {
    spaces_.pop_back();
    next_page_ = 0;
    if (spaces_.empty()) counters_.scrub_passes_total.Add();
  }
  const std::uint64_t calls = index_.page_count() / PageReader::kMaxPages + 1;
  next_ns_ = clock_.NowNs() + std::max(kMinPaceNs, period_ns_ / calls);
  if (pages.empty()) return absl::OkStatus();
  reading_ = true;
  counters_.scrubbed_pages_total.Add(pages.size());
  const absl::Status status = reader_.Start(spaces_.back(), pages, [this](std::span<const PageRead>) { reading_ = false; });
  if (absl::IsResourceExhausted(status)) reading_ = false;  // readers come first, too; these pages wait for the next pass
  return absl::IsResourceExhausted(status) ? absl::OkStatus() : status;
}

std::optional<std::uint64_t> Scrubber::NextDeadlineNs() const {
  if (period_ns_ == 0 || reading_ || index_.page_count() == 0) return std::nullopt;
  return next_ns_;
}

}  // namespace ashlar::snode
