// What each segment holds and which one is used next. No I/O.
//
// The log is a ring: segments are filled, cleaned and used again in the order of age, so that what is on disk is always
// one unbroken run of batches. A freed segment still holds its old batches until it is used again (`first_seq` stays).
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/telemetry/counter.h"
#include "common/telemetry/stat_list.h"

namespace ashlar::snode {

enum class SegmentState : std::uint8_t {
  kFree,     // may be used next
  kOpen,     // takes batches
  kClosed,   // full, or left behind by a start or a failed write
  kRetired,  // failed a write, cleaned since, never used again
};

struct SegmentInfo {
  SegmentState state = SegmentState::kFree;
  bool failed = false;           // a write to it failed: retired once it is cleaned
  bool unreadable = false;       // the cleaner could not read it back: kept as it is
  std::uint64_t generation = 0;  // of what is on disk; 0 = never used
  std::uint64_t first_seq = 0;   // batch_seq of its first batch on disk; 0 = holds none
  std::uint32_t end_block = 0;   // one past its last acknowledged batch
  std::uint64_t live_bytes = 0;  // pages and opens the index points at, entries included
  std::uint32_t live_entries = 0;
  std::uint32_t hiding_entries = 0;  // trims and ends
};

class SegmentTable {
 public:
  // Segments only the cleaner may fill: with them it can always finish.
  static constexpr std::uint32_t kReserved = 2;
  // A trim or end first written in batch N is applied before batch N + kTrimSlack + 1 is formed (so many batches are in
  // flight at most), hence no batch after N + kTrimSlack holds a version it hides.
  static constexpr std::uint64_t kTrimSlack = 3;

  SegmentTable(std::uint32_t segment_count, std::uint32_t segment_blocks);

  std::uint32_t count() const { return static_cast<std::uint32_t>(segments_.size()); }
  std::uint32_t blocks() const { return segment_blocks_; }
  SegmentInfo& at(std::uint32_t segment) { return segments_.at(segment); }
  const SegmentInfo& at(std::uint32_t segment) const { return segments_.at(segment); }
  std::uint32_t free_count() const { return free_; }

  void SetState(std::uint32_t segment, SegmentState state);
  // The free segment to use next: the one with the oldest batches. nullopt: none is free.
  std::optional<std::uint32_t> NextFree() const;
  // The closed segment with the oldest batches, which is the one to clean.
  std::optional<std::uint32_t> OldestClosed() const;
  // The lowest batch_seq on disk in any segment that is in use or can still be read back at a start. max if none.
  std::uint64_t OldestSeq() const;
  // Whether a trim or end first written in `seq` may still hide something on disk.
  bool HidingEntryNeeded(std::uint64_t seq) const { return OldestSeq() <= seq + kTrimSlack; }

  void AddLive(std::uint32_t segment, std::uint64_t bytes);
  void RemoveLive(std::uint32_t segment, std::uint64_t bytes);
  std::uint64_t live_bytes() const { return live_bytes_.value(); }
  // Bytes that live data may take in all: every usable segment less the reserve.
  std::uint64_t usable_bytes() const;

  void CollectStats(StatList& stats) const;

 private:
  std::vector<SegmentInfo> segments_;
  std::uint32_t segment_blocks_;
  std::uint32_t free_ = 0;
  Counter live_bytes_;
  Counter by_state_[4];
};

}  // namespace ashlar::snode
