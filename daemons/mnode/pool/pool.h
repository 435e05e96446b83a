// The memory an mnode lends: one mapping cut into extents of 4 MiB, and what is known of each frame, kept outside of it.
// It knows neither spaces nor peers, and does no I/O.
//
// Threads: one thread at a time (the shard's); the counters may be read from any.
// Invariant: an extent is either free or taken; every byte of an extent is zero when Take returns it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/base/mapping.h"
#include "common/telemetry/counter.h"
#include "daemons/mnode/pool/version_rule.h"

namespace ashlar::mnode {

using ExtentIndex = StrongId<struct ExtentIndexTag, std::uint32_t>;  // of the pool

// What is known of one frame. 16 bytes per 4 KiB.
struct Frame {
  std::uint64_t version = 0;  // held; 0 = never written since the extent was lent
  std::uint32_t crc32c = 0;   // PageCrc32c of that version
  std::uint16_t sending = 0;  // appends under way that carry this version
  FrameState state = FrameState::kEmpty;
  bool durable : 1 = false;   // the snode has this version on its disk
  bool touched : 1 = false;   // bytes were written into it since it was last zeroed

  HeldVersion held() const { return {state, Version(version), crc32c}; }
};
static_assert(sizeof(Frame) == 16);

class Pool {
 public:
  // `bytes` is rounded down to whole extents. InvalidArgument below one extent.
  static absl::StatusOr<std::unique_ptr<Pool>> Create(std::uint64_t bytes, Mapping::HugePages huge_pages);

  // An extent of zeros, with no frame written. ResourceExhausted: all are lent. Costs up to 4 MiB of memset, for the
  // frames that an earlier borrower had written.
  absl::StatusOr<ExtentIndex> Take();
  // The caller made sure that no peer can reach it any more.
  void Release(ExtentIndex extent);

  std::span<std::byte> bytes() const { return memory_.bytes().first(extent_count() * kExtentBytes); }
  bool huge() const { return memory_.huge(); }
  std::size_t extent_count() const { return extents_.size(); }
  std::size_t free_count() const { return free_.size(); }
  static std::uint64_t OffsetOf(ExtentIndex extent) { return std::uint64_t{extent.value()} * kExtentBytes; }
  std::uint32_t generation(ExtentIndex extent) const { return extents_[extent.value()].generation; }  // of this lending

  // `page` counts inside the extent, 0…1023.
  Frame& frame(ExtentIndex extent, std::size_t page) { return frames_[extent.value() * kExtentPages + page]; }
  std::span<std::byte> FrameBytes(ExtentIndex extent, std::size_t page) const {
    return memory_.bytes().subspan(OffsetOf(extent) + page * kPageBytes, kPageBytes);
  }

  // Of all spaces together, for stats; kept by Space.
  struct Totals {
    Counter live_pages, behind_pages;
  };
  Totals& totals() { return totals_; }
  const Totals& totals() const { return totals_; }
  const Counter& extents_used() const { return extents_used_; }
  const Counter& frames_zeroed() const { return frames_zeroed_; }

 private:
  struct Extent {
    std::uint32_t generation = 0;  // how often it was lent
    bool taken = false;
  };
  Pool(Mapping memory, Mapping frame_memory, std::size_t extents);

  Mapping memory_;
  Mapping frame_memory_;
  std::span<Frame> frames_;  // [extent_count * kExtentPages]
  std::vector<Extent> extents_;
  std::vector<ExtentIndex> free_;  // last in, first out: memory that was used is lent before memory that never was
  Totals totals_;
  Counter extents_used_, frames_zeroed_;
};

}  // namespace ashlar::mnode
