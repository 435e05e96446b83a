// Numbers batches, places them in segments, keeps up to four in flight and hands them back in the order of their
// numbers. It knows nothing of pages and spaces. See "Commit" and "Write errors" in README.md.
//
// Threads: one thread at a time.
// Invariant: a batch is handed back only when it and every batch before it are durable.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/mapping.h"
#include "daemons/snode/replica_log/log_counters.h"
#include "daemons/snode/replica_log/log_device.h"
#include "daemons/snode/replica_log/pending_entry.h"
#include "daemons/snode/replica_log/segment_table.h"

namespace ashlar::snode {

// Where the chain of batches ends, as a start found it.
struct ChainEnd {
  std::uint64_t next_seq = 1;
  std::uint64_t resumes = 0;  // last good batch; 0 = none
  std::uint32_t header_crc = 0;
};

struct CommittedBatch {
  std::uint64_t batch_seq = 0;
  std::uint64_t trims_upto = 0;
  std::uint32_t segment = 0;
  std::uint32_t end_block = 0;  // one past its last block
  bool starts_segment = false;  // the segment's earlier life is gone now
  std::vector<PendingEntry> entries;
};

// What the footer of a segment will say. Recovery gathers it of segments that were left without one.
struct SegmentLife {
  std::uint32_t segment = 0;
  std::uint64_t first_seq = 0, last_seq = 0;
  std::uint64_t resumes = 0;   // of its first batch
  std::uint32_t last_crc = 0;  // of its last batch's header
  std::uint32_t end_block = 0;
  std::vector<disk::Entry> entries;
  // `batch_entries` of one more batch; `written_seq`: when its trims and ends, if any, were first written.
  void Add(std::span<const disk::Entry> batch_entries, std::uint64_t written_seq);
};

class Committer {
 public:
  static constexpr std::uint64_t kSealTag = std::uint64_t{1} << 61;  // set in the tags of footers
  static constexpr std::size_t kMaxInFlight = SegmentTable::kTrimSlack + 1;
  // Segments that must stay free after a batch of this source opened one. See "Capacity" in README.md.
  static constexpr std::uint32_t MinFree(EntrySource source) {
    return source == EntrySource::kAppend ? 2 : source == EntrySource::kControl ? 1 : 0;
  }

  static absl::StatusOr<std::unique_ptr<Committer>> Make(LogDevice& device, SegmentTable& segments, const Clock& clock,
                                                         LogCounters& counters, const disk::StoreUuid& store_uuid,
                                                         ChainEnd end);

  bool CanSubmit() const { return in_flight_.size() < kMaxInFlight && !failing_; }
  bool idle() const { return in_flight_.empty() && !failing_; }
  std::size_t in_flight() const { return in_flight_.size(); }
  // Blocks that the next batch may take, header included, if its entries come from `source`. 0: no room, clean first.
  std::uint32_t RoomFor(EntrySource source) const;

  // Submits a batch of at most kMaxEntries entries that fit RoomFor; none: a mark. Needs CanSubmit.
  absl::Status Submit(std::vector<PendingEntry> entries);
  // A write that Submit started has ended. Non-OK (DataLoss): a second write in a row failed; the log is at its end.
  absl::Status OnWriteDone(std::uint64_t tag, int error);
  // Batches that became durable in order since the last call.
  std::vector<CommittedBatch> TakeCommitted();

  // Some batch with entries is acknowledged and no durable_upto on disk says so yet.
  bool NeedsMark() const { return last_data_seq_ > durable_upto_on_disk_; }
  std::uint64_t durable_upto() const { return durable_upto_; }
  // Something is being written to that segment: a batch, or its footer.
  bool HasInFlight(std::uint32_t segment) const;
  // Writes the footer that a segment of an earlier run, now closed for good, was left without; if there is room.
  absl::Status SealLeftOver(const SegmentLife& life);
  bool sealing() const { return !seals_.empty(); }

 private:
  struct InFlight {
    CommittedBatch batch;
    disk::Block header;  // in headers_
    std::uint32_t blocks = 0;
    std::uint32_t header_crc = 0;
    std::uint64_t durable_upto = 0;  // as its header says
    std::uint64_t submitted_ns = 0;
    enum class State { kWriting, kDurable, kFailed } state = State::kWriting;
  };

  // A footer that is being written.
  struct SealWrite {
    std::uint32_t segment = 0;
    std::uint64_t durable_upto = 0;
    Mapping bytes;
  };

  Committer(LogDevice& device, SegmentTable& segments, const Clock& clock, LogCounters& counters,
            const disk::StoreUuid& store_uuid, ChainEnd end, Mapping headers);
  std::uint32_t RoomInOpenSegment() const;
  absl::Status OpenSegment();
  void CloseSegment();
  absl::Status SealAcknowledged();
  absl::Status WriteSeal(const SegmentLife& life);
  absl::Status OnSealDone(std::uint32_t segment, int error);
  disk::BatchHeader Place(CommittedBatch* batch);
  absl::Status Write(InFlight* batch);
  absl::Status FailOver();
  disk::Block TakeHeader();

  LogDevice& device_;
  SegmentTable& segments_;
  const Clock& clock_;
  LogCounters& counters_;
  const disk::StoreUuid store_uuid_;
  Mapping headers_;
  std::vector<disk::Block> free_headers_;

  std::deque<InFlight> in_flight_;  // by batch_seq
  std::vector<CommittedBatch> committed_;
  std::uint64_t next_seq_;
  std::uint64_t resumes_;       // batch the next one follows
  std::uint32_t prev_crc_;      // and its header's CRC
  std::uint64_t durable_upto_;  // last batch handed back, or the end of the chain at start
  std::uint32_t durable_crc_;   // and its header's CRC
  std::uint64_t durable_upto_on_disk_ = 0;
  std::uint64_t last_data_seq_ = 0;
  std::int64_t open_segment_ = -1;
  std::uint32_t next_block_ = 0;
  SegmentLife life_;                 // of the open segment
  std::deque<SegmentLife> closing_;  // full, some of their batches not yet acknowledged
  std::deque<SealWrite> seals_;
  bool segment_started_ = false;  // a batch was placed in the open segment
  bool failing_ = false;          // a write failed: wait for the others, then rewrite
  bool failed_before_ = false;    // and no write succeeded since
};

}  // namespace ashlar::snode
