#include "daemons/mnode/pool/space.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/base/status.h"

namespace ashlar::mnode {
namespace {

std::size_t PageInExtent(PageNumber page) { return page.value() % kExtentPages; }
bool IsLive(const Frame& frame) { return frame.state != FrameState::kEmpty; }
bool IsBehind(const Frame& frame) { return IsLive(frame) && !frame.durable; }
bool Holds(const Frame& frame, const PageVersion& version) {
  return IsLive(frame) && frame.version == version.version.value() && frame.crc32c == version.crc32c;
}

}  // namespace

std::optional<ExtentIndex> Space::FindExtent(std::uint64_t number) const {
  const auto it = extents_.find(number);
  if (it == extents_.end()) return std::nullopt;
  return it->second.index;
}

absl::StatusOr<ExtentIndex> Space::MapExtent(std::uint64_t number) {
  if (const std::optional<ExtentIndex> there = FindExtent(number)) return *there;
  ASHLAR_ASSIGN_OR_RETURN(const ExtentIndex index, pool_->Take());
  extents_.emplace(number, Extent{index});
  return index;
}

std::optional<ExtentIndex> Space::UnmapExtent(std::uint64_t number) {
  const auto it = extents_.find(number);
  if (it == extents_.end()) return std::nullopt;
  const ExtentIndex index = it->second.index;
  Forget(it->second);
  extents_.erase(it);
  return index;
}

std::vector<ExtentIndex> Space::UnmapAll() {
  std::vector<ExtentIndex> all;
  all.reserve(extents_.size());
  for (const auto& [number, extent] : extents_) all.push_back(extent.index);
  extents_.clear();
  pool_->totals().live_pages.Sub(live_);
  pool_->totals().behind_pages.Sub(behind_);
  live_ = behind_ = idle_behind_ = 0;
  return all;
}

const Frame* Space::Find(PageNumber page) const {
  const auto it = extents_.find(ExtentOf(page));
  return it == extents_.end() ? nullptr : &pool_->frame(it->second.index, PageInExtent(page));
}

std::span<const std::byte> Space::BytesOf(PageNumber page) const {
  const auto it = extents_.find(ExtentOf(page));
  ASHLAR_CHECK(it != extents_.end(), "space {} has no extent for page {}", id_.value(), page.value());
  return pool_->FrameBytes(it->second.index, PageInExtent(page));
}

Space::Found Space::FindFrame(PageNumber page) {
  const auto it = extents_.find(ExtentOf(page));
  if (it == extents_.end()) return {nullptr, nullptr};
  return {&it->second, &pool_->frame(it->second.index, PageInExtent(page))};
}

void Space::Count(const Found& found, int by) {
  const auto add = [by](auto& count) { count += static_cast<std::remove_reference_t<decltype(count)>>(by); };
  const auto signed_by = static_cast<std::uint64_t>(static_cast<std::int64_t>(by));
  if (!IsLive(*found.frame)) return;
  add(live_);
  pool_->totals().live_pages.Add(signed_by);
  if (found.frame->durable) return;
  add(behind_);
  pool_->totals().behind_pages.Add(signed_by);
  if (found.frame->sending > 0) return;
  add(idle_behind_);
  add(found.extent->idle_behind);
}

template <typename Change>
void Space::Update(const Found& found, Change change) {
  Count(found, -1);
  change(*found.frame);
  Count(found, +1);
}

void Space::Forget(const Extent& extent) {
  Extent copy = extent;
  for (std::size_t i = 0; i < kExtentPages; ++i) Count({&copy, &pool_->frame(extent.index, i)}, -1);
}

void Space::Store(const PageVersion& version, std::span<const std::byte> bytes) {
  const Found found = FindFrame(version.page);
  ASHLAR_CHECK(found.frame != nullptr, "space {} has no extent for page {}", id_.value(), version.page.value());
  ASHLAR_CHECK(found.frame->version < version.version.value(), "space {} page {}: version {} is not above {}", id_.value(),
               version.page.value(), version.version.value(), found.frame->version);
  const std::span<std::byte> frame_bytes = pool_->FrameBytes(found.extent->index, PageInExtent(version.page));
  Update(found, [&](Frame& frame) {
    if (!bytes.empty()) {
      ASHLAR_CHECK(bytes.size() == kPageBytes, "a page of {} bytes", bytes.size());
      std::memcpy(frame_bytes.data(), bytes.data(), kPageBytes);
      frame.touched = true;
    } else if (frame.touched) {  // one-sided reads see the frame and not its flags
      std::memset(frame_bytes.data(), 0, kPageBytes);
      frame.touched = false;
    }
    frame.state = bytes.empty() ? FrameState::kZero : FrameState::kPage;
    frame.version = version.version.value();
    frame.crc32c = version.crc32c;
    frame.sending = 0;
    frame.durable = false;
  });
}

void Space::BeginSend(const PageVersion& version) {
  const Found found = FindFrame(version.page);
  if (found.frame == nullptr || !Holds(*found.frame, version)) return;
  Update(found, [](Frame& frame) {
    ASHLAR_CHECK(frame.sending < UINT16_MAX, "more appends of one page than there are buffers");
    ++frame.sending;
  });
}

void Space::EndSend(const PageVersion& version, bool durable) {
  const Found found = FindFrame(version.page);
  if (found.frame == nullptr || !Holds(*found.frame, version)) return;
  Update(found, [durable](Frame& frame) {
    if (frame.sending > 0) --frame.sending;  // 0: the extent went and came back meanwhile
    if (durable) frame.durable = true;
  });
}

void Space::ForgetDurable() {
  for (auto& [number, extent] : extents_)
    for (std::size_t i = 0; i < kExtentPages; ++i)
      if (Frame& frame = pool_->frame(extent.index, i); frame.durable)
        Update({&extent, &frame}, [](Frame& forgotten) { forgotten.durable = false; });
}

void Space::Trim(PageNumber first, std::uint64_t count, Version up_to) {
  const std::uint64_t end = first.value() + count;  // the caller checked that it does not wrap
  for (auto it = extents_.lower_bound(ExtentOf(first)); it != extents_.end() && it->first * kExtentPages < end; ++it) {
    const std::uint64_t base = it->first * kExtentPages;
    const std::size_t from = std::max(base, first.value()) - base;
    const std::size_t to = std::min<std::uint64_t>(end - base, kExtentPages);
    for (std::size_t i = from; i < to; ++i) {
      Frame& frame = pool_->frame(it->second.index, i);
      if (frame.version > up_to.value()) continue;
      Update({&it->second, &frame}, [up_to](Frame& dropped) {
        dropped.state = FrameState::kEmpty;
        dropped.version = up_to.value();
        dropped.crc32c = 0;
        dropped.sending = 0;
        dropped.durable = false;
      });
    }
  }
}

std::size_t Space::CollectBehind(PageNumber* cursor, std::span<PageVersion> out) const {
  std::size_t found = 0;
  for (auto it = extents_.lower_bound(ExtentOf(*cursor)); it != extents_.end(); ++it) {
    if (it->second.idle_behind == 0) continue;
    const std::uint64_t base = it->first * kExtentPages;
    for (std::size_t i = std::max(base, cursor->value()) - base; i < kExtentPages; ++i) {
      if (found == out.size()) {
        *cursor = PageNumber(base + i);
        return found;
      }
      const Frame& frame = pool_->frame(it->second.index, i);
      if (!IsBehind(frame) || frame.sending > 0) continue;
      out[found++] = {PageNumber(base + i), Version(frame.version), frame.crc32c};
    }
  }
  *cursor = PageNumber(0);
  return found;
}

}  // namespace ashlar::mnode
