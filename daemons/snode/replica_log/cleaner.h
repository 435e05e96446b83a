// Reads the oldest segment back, a chunk of whole batches at a time, and offers what must be kept as entries for new
// batches, their identity unchanged. Of a page that does not verify, an entry of kind lost keeps the knowledge. When all copies are decided the segment is clean. See "Cleaning" in README.md.
//
// Threads: one thread at a time; reads are asynchronous, one at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/mapping.h"
#include "daemons/snode/replica_log/log_counters.h"
#include "daemons/snode/replica_log/log_device.h"
#include "daemons/snode/replica_log/page_index.h"
#include "daemons/snode/replica_log/pending_entry.h"
#include "daemons/snode/replica_log/segment_table.h"

namespace ashlar::snode {

class Cleaner {
 public:
  static constexpr std::uint64_t kReadTag = std::uint64_t{1} << 63;  // set in the tags of its reads
  static constexpr std::uint32_t kSlots = 4;                         // chunks being read or copied at a time

  static absl::StatusOr<std::unique_ptr<Cleaner>> Make(LogDevice& device, SegmentTable& segments, PageIndex& index,
                                                       LogCounters& counters, const disk::StoreUuid& store_uuid);

  bool active() const { return segment_.has_value(); }
  void Start(std::uint32_t segment);
  // Submits reads for which there is room.
  absl::Status Step();
  void OnReadDone(std::uint64_t tag, int error);

  // Copies that wait for a batch, oldest first. The caller takes them out and later calls OnCopyDecided for each.
  std::deque<PendingEntry>& waiting() { return waiting_; }
  const std::deque<PendingEntry>& waiting() const { return waiting_; }
  // More copies are about to come: a batch of few is better delayed.
  bool reading() const { return reading_; }
  // Whether a copy is still wanted; asked when its batch is formed.
  bool StillNeeded(const PendingEntry& copy) const;
  void OnCopyDecided(const PendingEntry& copy);

  // The segment that was just cleaned, once nothing of it is under way; the cleaner is idle then. If it could not be
  // read it is marked so in the table.
  std::optional<std::uint32_t> TakeFinished();

 private:
  enum class SlotState { kFree, kReading, kCopying };
  struct Slot {
    SlotState state = SlotState::kFree;
    std::span<std::byte> bytes;
    std::uint32_t first_block = 0;  // where the chunk begins in the segment
    std::uint32_t block_count = 0;
    std::uint32_t undecided = 0;  // copies offered and not yet decided
  };

  Cleaner(LogDevice& device, SegmentTable& segments, PageIndex& index, LogCounters& counters,
          const disk::StoreUuid& store_uuid, Mapping buffer);
  // Offers what is wanted of the batch that begins `at` blocks into the chunk. False: it does not lie in the chunk
  // whole.
  absl::StatusOr<bool> TakeBatch(std::uint32_t slot_index, std::uint32_t at);
  void Offer(std::uint32_t slot_index, const disk::BatchHeader& header, const disk::Entry& entry);
  bool HidingEntryWanted(const disk::Entry& entry, std::uint64_t written_seq) const;
  void GiveUp(std::string_view why);

  LogDevice& device_;
  SegmentTable& segments_;
  PageIndex& index_;
  LogCounters& counters_;
  const disk::StoreUuid store_uuid_;
  Mapping buffer_;
  std::vector<Slot> slots_;
  std::deque<PendingEntry> waiting_;
  std::optional<std::uint32_t> segment_;
  std::uint32_t next_block_ = 0;  // where the next header stands
  bool reading_ = false;
};

}  // namespace ashlar::snode
