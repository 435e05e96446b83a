#include "daemons/snode/replica_log/recovery.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
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
// What is copied to quarantine at one start at most; the log itself is not touched either way.
constexpr std::uint32_t kMaxQuarantineBlocks = 1024;
// Of a gap whose other end lies elsewhere: the batch that is missing there had at most so many blocks.
constexpr std::uint32_t kGapBlocks = 1 + disk::kMaxEntries;

// Their entries are held in memory until they are written; the rest gets its turn at the next start.
constexpr std::size_t kMaxSealedAtStart = 8;

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

  absl::StatusOr<Recovered> Run() {
    ASHLAR_RETURN_IF_ERROR(ScanAll());
    ASHLAR_ASSIGN_OR_RETURN(chain_, BuildChain(std::move(found_), torn_, acknowledged_upto_));
    for (const ChainGap& gap : chain_.gaps) NoteGap(gap);
    LeaveOutLastStart();
    ASHLAR_RETURN_IF_ERROR(VerifyTail());
    ASHLAR_RETURN_IF_ERROR(ApplyAll());
    CheckResult();
    FreeDeadSegments();
    std::set<std::uint32_t> gaps;
    for (const ChainGap& gap : chain_.gaps) gaps.insert(gap.after.segment);
    std::erase_if(result_.unsealed, [&](const SegmentLife& life) {  // a footer must not paper over a hole
      return segments_.at(life.segment).state != SegmentState::kClosed || gaps.contains(life.segment);
    });
    for (const FoundBatch& batch : chain_.beyond) Quarantine("unsettled", batch.segment, batch.block, batch.end_block);
    if (!chain_.beyond.empty())
      log::Info("replica_log: batches in flight at the last stop are void count={} first={} last_good={}",
                chain_.beyond.size(), chain_.beyond.front().batch_seq, LastSeq());
    for (const std::string& words : result_.damage) log::Error("{}", words);
    result_.void_batches = static_cast<std::uint32_t>(chain_.beyond.size());
    result_.end = {.next_seq = std::max(chain_.highest_seen, chain_.acknowledged_upto) + kSequenceGap,
                   .resumes = LastSeq(),
                   .header_crc = chain_.batches.empty() ? 0 : chain_.batches.back().header_crc};
    return std::move(result_);
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
      if (!scan.batches.empty()) ++(scan.sealed ? result_.sealed_segments : result_.scanned_segments);
      acknowledged_upto_ = std::max(acknowledged_upto_, scan.acknowledged_upto);
      found_.insert(found_.end(), scan.batches.begin(), scan.batches.end());
      if (scan.sealed) footers_[s] = std::move(scan.entries);
    }
    return absl::OkStatus();
  }

  // Acknowledged batches are missing. Where they lay, as far as their neighbours tell, is copied for people to look at.
  void NoteGap(const ChainGap& gap) {
    result_.damage.push_back(absl::StrCat(
        "replica_log: acknowledged batches are missing after=", gap.after.batch_seq, " before=",
        gap.before ? gap.before->first_seq : chain_.acknowledged_upto + 1, " segment=", gap.after.segment, " block=", gap.after.end_block,
        ": the disk lost or damaged them; homes must compare what is kept here"));
    const bool together = gap.before && gap.before->segment == gap.after.segment;
    const std::uint32_t end = std::min(segments_.blocks(), gap.after.end_block + kGapBlocks);
    if (!gap.after.sealed) Quarantine("corrupt", gap.after.segment, gap.after.end_block, together ? gap.before->block : end);
    if (gap.before && !together && !gap.before->sealed) Quarantine("corrupt", gap.before->segment, 0, gap.before->block);
  }

  // Best effort: a start must not fail because a copy for people does.
  void Quarantine(std::string_view why, std::uint32_t segment, std::uint32_t block, std::uint32_t end) {
    const std::uint32_t count = end > block ? std::min(end - block, kMaxQuarantineBlocks - quarantined_blocks_) : 0;
    if (count == 0) return;
    absl::StatusOr<Mapping> copy = Mapping::Anonymous(count * disk::kBlockBytes);
    if (!copy.ok()) return;
    const std::span<std::byte> bytes = copy->bytes().first(count * disk::kBlockBytes);
    for (std::uint32_t b = 0; b < count; ++b)  // one by one: a block that cannot be read stays zeros
      device_.Read({segment, block + b}, bytes.subspan(b * disk::kBlockBytes, disk::kBlockBytes)).IgnoreError();
    quarantined_blocks_ += count;
    const std::string name = absl::StrFormat("%s-seg-%08x-generation-%d-block-%d", why, segment, segments_.at(segment).generation, block);
    const absl::Status status = device_.Quarantine(name, bytes);
    log::Warn("replica_log: copied to quarantine name={} blocks={} status={}", name, count, status);
  }

  // The mark of a start after which nothing was written says nothing that the next one does not say again: its segment
  // can be used at once, so that any number of starts costs no space.
  void LeaveOutLastStart() {
    auto& batches = chain_.batches;
    while (batches.size() > 1 && !batches.back().sealed && batches.back().entry_count == 0 && batches.back().block == 0)
      batches.pop_back();
  }

  // Batches that nothing proves acknowledged are read in full; the first that does not verify ends the log.
  absl::Status VerifyTail() {
    for (std::size_t i = 0; i < chain_.batches.size(); ++i) {
      if (chain_.batches[i].batch_seq <= chain_.acknowledged_upto) continue;
      if (torn_.contains(chain_.batches[i].segment) || chain_.batches[i].sealed) continue;  // torn: see CheckResult
      ASHLAR_ASSIGN_OR_RETURN(const bool good, BatchVerifies(device_, superblock_.store_uuid, chain_.batches[i]));
      if (!good) {
        CutChain(&chain_, i);
        break;
      }
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
      return none_free && !batches.back().sealed && batch.segment == batches.back().segment;
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
        ASHLAR_ASSIGN_OR_RETURN(std::optional<OpenRecord> open, ReadOpen(batch, entry));
        if (!open) return true;
        open->era = space->open.era;
        if (*open != space->open) return true;
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
    SegmentInfo& info = segments_.at(batch.segment);
    if (info.state == SegmentState::kFree) {
      segments_.SetState(batch.segment, SegmentState::kClosed);
      info.first_seq = batch.first_seq;
    }
    info.end_block = batch.end_block;
    std::uint64_t written_seq = batch.trims_upto != 0 ? batch.trims_upto : batch.batch_seq;
    if (batch.sealed) {
      for (const disk::Entry& entry : footers_.at(batch.segment)) {
        if (entry.kind == disk::EntryKind::kWritten)
          written_seq = entry.space;
        else
          ASHLAR_RETURN_IF_ERROR(Apply(batch, entry, written_seq));
      }
      footers_.erase(batch.segment);
      return absl::OkStatus();
    }
    ASHLAR_ASSIGN_OR_RETURN(const disk::DecodedHeader decoded, ReadHeader(batch));
    for (const disk::Entry& entry : decoded.entries) ASHLAR_RETURN_IF_ERROR(Apply(batch, entry, written_seq));
    Gather(batch, decoded.entries, written_seq);
    return absl::OkStatus();
  }

  absl::Status Apply(const FoundBatch& batch, const disk::Entry& entry, std::uint64_t written_seq) {
    if (entry.kind == disk::EntryKind::kClone || entry.kind == disk::EntryKind::kSnapshot || entry.kind == disk::EntryKind::kDrop)
      return absl::DataLossError(
          absl::StrCat(Where(batch), ": entry kind ", static_cast<int>(entry.kind), " is of a newer release"));
    std::optional<OpenRecord> open;
    if (entry.kind == disk::EntryKind::kOpen) {
      ASHLAR_ASSIGN_OR_RETURN(open, ReadOpen(batch, entry));
      if (!open) {
        if (torn_.contains(batch.segment)) return absl::OkStatus();  // dead; its data is being overwritten
        damaged_opens_.push_back({entry, batch.segment});
        // The epoch stands in the entry, and stays in force: whoever goes on fences above it.
        open = OpenRecord{.epoch = Epoch(entry.epoch), .view = 0, .owner = {}, .home = {}, .era = entry.era, .ack = 0, .replicas = {}};
      }
    }
    if (index_.Apply(entry, batch.segment, written_seq, open ? &*open : nullptr) == VersionVerdict::kTwoVersions)
      return absl::DataLossError(absl::StrCat(Where(batch), ": space ", entry.space, " page ", entry.page,
                                              " version ", entry.version, " was written twice with different bytes"));
    NoteHiding(entry, batch.segment, written_seq);
    return absl::OkStatus();
  }

  // A segment without a footer is one whose reuse, torn by a crash, would look like damage: it is given one.
  void Gather(const FoundBatch& batch, const std::vector<disk::Entry>& entries, std::uint64_t written_seq) {
    auto& lives = result_.unsealed;
    if (torn_.contains(batch.segment)) return;
    if (lives.empty() || lives.back().segment != batch.segment) {
      if (lives.size() == kMaxSealedAtStart) return;
      lives.push_back({.segment = batch.segment, .first_seq = batch.batch_seq, .resumes = batch.resumes});
    }
    SegmentLife& life = lives.back();
    life.last_seq = batch.batch_seq;
    life.last_crc = batch.header_crc;
    life.end_block = batch.end_block;
    life.Add(entries, written_seq);
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

  // nullopt: its bytes are damaged.
  absl::StatusOr<std::optional<OpenRecord>> ReadOpen(const FoundBatch& batch, const disk::Entry& entry) {
    disk::Block data(buffer_.bytes().first<disk::kBlockBytes>());
    if (!device_.Read({batch.segment, entry.block}, data).ok() || disk::EntryCrc(entry, data) != entry.crc) return std::nullopt;
    std::optional<OpenRecord> open = DecodeOpen(data);
    if (!open || open->epoch.value() != entry.epoch)
      return absl::DataLossError(
          absl::StrCat(Where(batch), ": the record that opens space ", entry.space, " is not understood"));
    return open;
  }

  // Damage that shows only when everything was applied.
  void CheckResult() {
    for (std::uint32_t s : torn_)
      if (segments_.at(s).live_entries > 0)
        result_.damage.push_back(absl::StrCat("replica_log: segment ", s, " lost its first batch, and ", segments_.at(s).live_entries,
                                              " of its entries are still needed: the disk damaged it"));
    for (const auto& [entry, segment] : damaged_opens_)
      if (index_.IsLive(entry, segment))
        result_.damage.push_back(absl::StrCat("replica_log: the record that opens space ", entry.space, " under epoch ", entry.epoch,
                                              " is damaged: its owner is not known until it is opened anew"));
    index_.ForEachSpace([&](SpaceId id, const SpaceRecord& space) {
      if (!space.ended && space.open.epoch == Epoch(0) && !space.pages.empty())
        result_.damage.push_back(absl::StrCat("replica_log: space ", id.value(), " has ", space.pages.size(),
                                              " pages, but nothing says who opened it"));
    });
  }

  // What a torn segment still shows is dead; and the oldest segments may hold nothing that is needed any more.
  void FreeDeadSegments() {
    ForgetHiding();
    for (std::uint32_t s : torn_)
      if (segments_.at(s).state == SegmentState::kClosed && segments_.at(s).live_entries == 0) segments_.SetState(s, SegmentState::kFree);
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
  Recovered result_;
  std::uint32_t quarantined_blocks_ = 0;
  std::uint64_t acknowledged_upto_ = 0;  // what seals prove
  absl::flat_hash_map<std::uint32_t, std::vector<disk::Entry>> footers_;
  std::vector<std::pair<disk::Entry, std::uint32_t>> damaged_opens_;
  std::vector<FoundBatch> found_;
  std::set<std::uint32_t> torn_;
  absl::flat_hash_map<std::tuple<int, std::uint64_t, std::uint64_t, std::uint64_t, std::uint32_t>, Hiding> hiding_;
  Chain chain_;
};

}  // namespace

absl::StatusOr<Recovered> Recover(LogDevice& device, const Superblock& superblock, SegmentTable& segments,
                                 PageIndex& index) {
  ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(disk::kBlockBytes));
  ASHLAR_ASSIGN_OR_RETURN(HeaderWindow headers, HeaderWindow::Make(device, segments.blocks()));
  return Recovery(device, superblock, segments, index, std::move(buffer), std::move(headers)).Run();
}

}  // namespace ashlar::snode
