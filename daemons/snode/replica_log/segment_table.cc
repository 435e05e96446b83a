#include "daemons/snode/replica_log/segment_table.h"

#include <algorithm>
#include <limits>

#include "common/base/check.h"
#include "daemons/snode/replica_log/batch_format.h"

namespace ashlar::snode {

SegmentTable::SegmentTable(std::uint32_t segment_count, std::uint32_t segment_blocks)
    : segments_(segment_count), segment_blocks_(segment_blocks), free_(segment_count) {
  by_state_[0].Set(segment_count);
}

void SegmentTable::SetState(std::uint32_t segment, SegmentState state) {
  SegmentInfo& info = segments_.at(segment);
  by_state_[static_cast<int>(info.state)].Sub();
  by_state_[static_cast<int>(state)].Add();
  if (info.state == SegmentState::kFree) --free_;
  if (state == SegmentState::kFree) ++free_;
  info.state = state;
}

std::optional<std::uint32_t> SegmentTable::NextFree() const {
  std::optional<std::uint32_t> best;
  for (std::uint32_t s = 0; s < count(); ++s) {
    if (segments_[s].state != SegmentState::kFree) continue;
    if (!best || segments_[s].first_seq < segments_[*best].first_seq) best = s;
  }
  return best;
}

std::optional<std::uint32_t> SegmentTable::OldestClosed() const {
  std::optional<std::uint32_t> best;
  for (std::uint32_t s = 0; s < count(); ++s) {
    if (segments_[s].state != SegmentState::kClosed || segments_[s].unreadable) continue;
    if (!best || segments_[s].first_seq < segments_[*best].first_seq) best = s;
  }
  return best;
}

std::uint64_t SegmentTable::OldestSeq() const {
  std::uint64_t oldest = std::numeric_limits<std::uint64_t>::max();
  for (const SegmentInfo& info : segments_)
    if (info.first_seq != 0) oldest = std::min(oldest, info.first_seq);
  return oldest;
}

void SegmentTable::AddLive(std::uint32_t segment, std::uint64_t bytes) {
  segments_.at(segment).live_bytes += bytes;
  ++segments_.at(segment).live_entries;
  live_bytes_.Add(bytes);
}

void SegmentTable::RemoveLive(std::uint32_t segment, std::uint64_t bytes) {
  SegmentInfo& info = segments_.at(segment);
  ASHLAR_CHECK(info.live_entries > 0 && info.live_bytes >= bytes, "segment={} live={} bytes={}", segment,
               info.live_bytes, bytes);
  info.live_bytes -= bytes;
  --info.live_entries;
  live_bytes_.Sub(bytes);
}

std::uint64_t SegmentTable::usable_bytes() const {
  const auto retired = static_cast<std::uint32_t>(by_state_[static_cast<int>(SegmentState::kRetired)].value());
  const std::uint32_t lost = retired + kReserved + 1;  // 1: the open one is never full of live data
  const std::uint32_t usable = count() > lost ? count() - lost : 0;
  return std::uint64_t{usable} * segment_blocks_ * disk::kBlockBytes;
}

void SegmentTable::CollectStats(StatList& stats) const {
  static constexpr const char* kStates[] = {"state=free", "state=open", "state=closed", "state=retired"};
  for (int s = 0; s < 4; ++s) stats.Add("segments", by_state_[s], kStates[s]);
  stats.Add("log_live_bytes", live_bytes_);
  const std::uint64_t held = count() - by_state_[0].value();
  stats.Add("log_used_bytes", held * segment_blocks_ * disk::kBlockBytes);
  stats.Add("log_capacity_bytes", std::uint64_t{count()} * segment_blocks_ * disk::kBlockBytes);
}

}  // namespace ashlar::snode
