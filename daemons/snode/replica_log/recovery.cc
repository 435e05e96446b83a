#include "daemons/snode/replica_log/recovery.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/base/mapping.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"
#include "daemons/snode/replica_log/chain.h"
#include "daemons/snode/replica_log/header_window.h"
#include "daemons/snode/replica_log/segment_scan.h"

namespace ashlar::snode {
namespace {

// A number that no batch of the last writer can carry: it had at most four in flight beyond the highest that was seen.
constexpr std::uint64_t kSequenceGap = 16;
// Segments whose first block a crash can spoil at once: that of the batches in flight, and the next.
constexpr std::size_t kMaxTorn = 2;

class Recovery {
 public:
  Recovery(LogDevice& device, const Superblock& superblock, SegmentTable& segments, PageIndex& index, Mapping buffer,
           HeaderWindow headers)
      : device_(device),
        superblock_(superblock),
        segments_(segments),
        index_(index),
        buffer_(std::move(buffer)),
        headers_(std::move(headers)) {}

  absl::StatusOr<ChainEnd> Run() {
    ASHLAR_RETURN_IF_ERROR(ScanAll());
    ASHLAR_ASSIGN_OR_RETURN(chain_, BuildChain(std::move(found_), torn_));
    LeaveOutLastStart();
    ASHLAR_RETURN_IF_ERROR(VerifyTail());
    ASHLAR_RETURN_IF_ERROR(ApplyAll());
    ASHLAR_RETURN_IF_ERROR(CheckResult());
    FreeDeadSegments();
    if (!chain_.beyond.empty())
      log::Info("replica_log: batches in flight at the last stop are void count={} first={} last_good={}",
                chain_.beyond.size(), chain_.beyond.front().batch_seq, LastSeq());
    return ChainEnd{.next_seq = chain_.highest_seen + kSequenceGap,
                    .resumes = LastSeq(),
                    .header_crc = chain_.batches.empty() ? 0 : chain_.batches.back().header_crc};
  }

 private:
  std::uint64_t LastSeq() const { return chain_.batches.empty() ? 0 : chain_.batches.back().batch_seq; }

  absl::Status ScanAll() {
    for (std::uint32_t s : superblock_.retired)
      if (s < segments_.count()) segments_.SetState(s, SegmentState::kRetired);
    for (std::uint32_t s = 0; s < segments_.count(); ++s) {
      if (segments_.at(s).state == SegmentState::kRetired) continue;
      ASHLAR_ASSIGN_OR_RETURN(SegmentScan scan, ScanSegment(device_, superblock_.store_uuid, s, segments_.blocks()));
      segments_.at(s).generation = scan.generation;
      if (scan.first_block_bad) torn_.insert(s);
      found_.insert(found_.end(), scan.batches.begin(), scan.batches.end());
    }
    if (torn_.size() > kMaxTorn)
      return absl::DataLossError(absl::StrCat("replica_log: the first block of ", torn_.size(),
                                              " segments is unreadable, a crash spoils at most ", kMaxTorn));
    return absl::OkStatus();
  }

  // The mark of a start after which nothing was written says nothing that the next one does not say again: its segment
  // can be used at once, so that any number of starts costs no space.
  void LeaveOutLastStart() {
    auto& batches = chain_.batches;
    while (batches.size() > 1 && batches.back().entry_count == 0 && batches.back().block == 0) batches.pop_back();
  }

  // Batches that nothing proves acknowledged are read in full; the first that does not verify ends the log.
  absl::Status VerifyTail() {
    for (std::size_t i = 0; i < chain_.batches.size(); ++i) {
      if (chain_.batches[i].batch_seq <= chain_.acknowledged_upto) continue;
      if (torn_.contains(chain_.batches[i].segment)) continue;  // being overwritten: all of it is dead, see CheckResult
      ASHLAR_ASSIGN_OR_RETURN(const bool good, BatchVerifies(device_, superblock_.store_uuid, chain_.batches[i]));
      if (!good) return CutChain(&chain_, i);
    }
    return absl::OkStatus();
  }

  // All are kFree in the table until their first batch is applied.
  absl::Status ApplyAll() {
    std::set<std::uint32_t> used;
    for (const FoundBatch& batch : chain_.batches) used.insert(batch.segment);
    const bool none_free = !chain_.batches.empty() && used.size() == segments_.free_count();
    auto& batches = chain_.batches;
    const auto last_segment = std::find_if(batches.begin(), batches.end(), [&](const FoundBatch& batch) {
      return none_free && batch.segment == batches.back().segment;
    });
    for (auto it = batches.begin(); it != last_segment; ++it) ASHLAR_RETURN_IF_ERROR(Apply(*it));
    if (last_segment == batches.end()) return absl::OkStatus();
    // The last free segment is only ever opened for copies. If their originals are all in place it is free again.
    bool needed = false;
    for (auto it = last_segment; it != batches.end() && !needed; ++it) {
      ASHLAR_ASSIGN_OR_RETURN(needed, SaysAnythingNew(*it));
    }
    if (!needed) {
      log::Info("replica_log: segment of unfinished copies is used again segment={}", batches.back().segment);
      batches.erase(last_segment, batches.end());
      return absl::OkStatus();
    }
    for (auto it = last_segment; it != batches.end(); ++it) ASHLAR_RETURN_IF_ERROR(Apply(*it));
    return absl::OkStatus();
  }

  absl::StatusOr<bool> SaysAnythingNew(const FoundBatch& batch) {
    ASHLAR_ASSIGN_OR_RETURN(const disk::DecodedHeader decoded, ReadHeader(batch));
    for (const disk::Entry& entry : decoded.entries) {
      const SpaceRecord* space = index_.FindSpace(SpaceId(entry.space));
      if (space == nullptr) return true;
      if (space->ended) continue;
      if (entry.kind == disk::EntryKind::kEnd) return true;
      if (entry.kind == disk::EntryKind::kTrim) {
        constexpr std::uint32_t kMaxLook = 1 << 20;
        if (entry.count > kMaxLook) return true;
        for (std::uint64_t i = 0; i < entry.count; ++i)
          if (space->floors.At(PageNumber(entry.page + i)) < Version(entry.version)) return true;
      } else if (entry.kind == disk::EntryKind::kOpen) {
        ASHLAR_ASSIGN_OR_RETURN(OpenRecord open, ReadOpen(batch, entry));
        open.era = space->open.era;
        if (open != space->open) return true;
      } else if (index_.Judge(*space, PageNumber(entry.page), {Version(entry.version), entry.crc}) ==
                 VersionVerdict::kTake) {
        return true;
      }
    }
    return false;
  }

  absl::StatusOr<disk::DecodedHeader> ReadHeader(const FoundBatch& batch) {
    ASHLAR_ASSIGN_OR_RETURN(const disk::ConstBlock block, headers_.Read({batch.segment, batch.block}));
    disk::DecodedHeader decoded = disk::DecodeHeader(block);
    if (decoded.fault != disk::HeaderFault::kNone || decoded.header.batch_seq != batch.batch_seq)
      return absl::DataLossError(Where(batch) + " reads differently a second time");
    return decoded;
  }

  absl::Status Apply(const FoundBatch& batch) {
    ASHLAR_ASSIGN_OR_RETURN(const disk::DecodedHeader decoded, ReadHeader(batch));
    SegmentInfo& info = segments_.at(batch.segment);
    if (info.state == SegmentState::kFree) {
      segments_.SetState(batch.segment, SegmentState::kClosed);
      info.first_seq = batch.batch_seq;
    }
    info.end_block = batch.block + 1U + batch.data_blocks;
    const std::uint64_t written_seq = batch.trims_upto != 0 ? batch.trims_upto : batch.batch_seq;
    for (const disk::Entry& entry : decoded.entries) {
      if (entry.kind > disk::EntryKind::kEnd)
        return absl::DataLossError(
            absl::StrCat(Where(batch), ": entry kind ", static_cast<int>(entry.kind), " is of a newer release"));
      std::optional<OpenRecord> open;
      if (entry.kind == disk::EntryKind::kOpen) {
        if (torn_.contains(batch.segment)) continue;  // dead; its data may be overwritten
        ASHLAR_ASSIGN_OR_RETURN(open, ReadOpen(batch, entry));
      }
      if (index_.Apply(entry, batch.segment, written_seq, open ? &*open : nullptr) == VersionVerdict::kTwoVersions)
        return absl::DataLossError(absl::StrCat(Where(batch), ": space ", entry.space, " page ", entry.page,
                                                " version ", entry.version, " was written twice with different bytes"));
      NoteHiding(entry, batch.segment, written_seq);
    }
    return absl::OkStatus();
  }

  // A trim or end that stands in a later segment too was copied there by the cleaner: the earlier one is dead.
  void NoteHiding(const disk::Entry& entry, std::uint32_t segment, std::uint64_t written_seq) {
    if (entry.kind != disk::EntryKind::kTrim && entry.kind != disk::EntryKind::kEnd) return;
    Hiding& hiding = hiding_[{static_cast<int>(entry.kind), entry.space, entry.page, entry.version, entry.count}];
    if (hiding.entries > 0 && hiding.segment != segment) {
      segments_.at(hiding.segment).hiding_entries -= hiding.entries;
      hiding.entries = 0;
    }
    ++hiding.entries;
    hiding.segment = segment;
    hiding.written_seq = std::max(hiding.written_seq, written_seq);
  }

  // So is one that has nothing left to hide, and a trim in a space that has ended since.
  void ForgetHiding() {
    for (const auto& [key, hiding] : hiding_) {
      const SpaceRecord* space = index_.FindSpace(SpaceId(std::get<1>(key)));
      const bool is_trim = std::get<0>(key) == static_cast<int>(disk::EntryKind::kTrim);
      const bool gone = is_trim && (space == nullptr || space->ended || space->open.epoch == Epoch(0));
      if (gone || !segments_.HidingEntryNeeded(hiding.written_seq))
        segments_.at(hiding.segment).hiding_entries -= hiding.entries;
    }
    hiding_.clear();
  }

  static std::string Where(const FoundBatch& batch) {
    return absl::StrCat("replica_log: segment ", batch.segment, " block ", batch.block);
  }

  absl::StatusOr<OpenRecord> ReadOpen(const FoundBatch& batch, const disk::Entry& entry) {
    disk::Block data(buffer_.bytes().first<disk::kBlockBytes>());
    ASHLAR_RETURN_IF_ERROR(device_.Read({batch.segment, entry.block}, data));
    if (disk::EntryCrc(entry, data) != entry.crc)
      return absl::DataLossError(
          absl::StrCat(Where(batch), ": the record that opens space ", entry.space, " is damaged"));
    std::optional<OpenRecord> open = DecodeOpen(data);
    if (!open || open->epoch.value() != entry.epoch)
      return absl::DataLossError(
          absl::StrCat(Where(batch), ": the record that opens space ", entry.space, " is not understood"));
    return *std::move(open);
  }

  absl::Status CheckResult() {
    for (std::uint32_t s : torn_)
      if (segments_.at(s).live_entries > 0)
        return absl::DataLossError(absl::StrCat("replica_log: segment ", s, " lost its first block, but ",
                                                segments_.at(s).live_entries,
                                                " of its entries are still needed: the disk damaged it"));
    absl::Status result;
    index_.ForEachSpace([&](SpaceId id, const SpaceRecord& space) {
      if (!space.ended && space.open.epoch == Epoch(0) && !space.pages.empty())
        result = absl::DataLossError(absl::StrCat("replica_log: space ", id.value(), " has ", space.pages.size(),
                                                  " pages, but nothing says who opened it"));
    });
    return result;
  }

  // What a torn segment still shows is dead; and the oldest segments may hold nothing that is needed any more.
  void FreeDeadSegments() {
    ForgetHiding();
    for (std::uint32_t s : torn_)
      if (segments_.at(s).state == SegmentState::kClosed) segments_.SetState(s, SegmentState::kFree);
    for (auto oldest = segments_.OldestClosed(); oldest; oldest = segments_.OldestClosed()) {
      const SegmentInfo& info = segments_.at(*oldest);
      if (info.live_entries > 0 || info.hiding_entries > 0) break;
      segments_.SetState(*oldest, SegmentState::kFree);
    }
  }

  LogDevice& device_;
  const Superblock& superblock_;
  SegmentTable& segments_;
  PageIndex& index_;
  Mapping buffer_;  // one block
  HeaderWindow headers_;
  struct Hiding {
    std::uint32_t segment = 0;
    std::uint32_t entries = 0;
    std::uint64_t written_seq = 0;
  };
  std::vector<FoundBatch> found_;
  std::set<std::uint32_t> torn_;
  absl::flat_hash_map<std::tuple<int, std::uint64_t, std::uint64_t, std::uint64_t, std::uint32_t>, Hiding> hiding_;
  Chain chain_;
};

}  // namespace

absl::StatusOr<ChainEnd> Recover(LogDevice& device, const Superblock& superblock, SegmentTable& segments,
                                 PageIndex& index) {
  ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(disk::kBlockBytes));
  ASHLAR_ASSIGN_OR_RETURN(HeaderWindow headers, HeaderWindow::Make(device, segments.blocks()));
  return Recovery(device, superblock, segments, index, std::move(buffer), std::move(headers)).Run();
}

}  // namespace ashlar::snode
