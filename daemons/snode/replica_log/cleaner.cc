#include "daemons/snode/replica_log/cleaner.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"
#include "daemons/snode/replica_log/page_reader.h"

namespace ashlar::snode {
namespace {

constexpr std::uint32_t kChunkBlocks = 2 * (1 + disk::kMaxEntries);  // holds one batch whole, wherever it begins
constexpr std::size_t kSlotBytes = kChunkBlocks * disk::kBlockBytes;

bool IsHidingEntry(const disk::Entry& entry) {
  return entry.kind == disk::EntryKind::kTrim || entry.kind == disk::EntryKind::kEnd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Cleaner>> Cleaner::Make(LogDevice& device, SegmentTable& segments, PageIndex& index,
                                                       LogCounters& counters, const disk::StoreUuid& store_uuid) {
  ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(kSlots * kSlotBytes));
  return std::unique_ptr<Cleaner>(new Cleaner(device, segments, index, counters, store_uuid, std::move(buffer)));
}

Cleaner::Cleaner(LogDevice& device, SegmentTable& segments, PageIndex& index, LogCounters& counters,
                 const disk::StoreUuid& store_uuid, Mapping buffer)
    : device_(device), segments_(segments), index_(index), counters_(counters), store_uuid_(store_uuid), buffer_(std::move(buffer)) {
  slots_.resize(kSlots);
  for (std::uint32_t i = 0; i < kSlots; ++i) slots_[i].bytes = buffer_.bytes().subspan(i * kSlotBytes, kSlotBytes);
}

void Cleaner::Start(std::uint32_t segment) {
  ASHLAR_CHECK(!active() && waiting_.empty(), "the cleaner is at segment {}", segment_.value_or(0));
  segment_ = segment;
  next_block_ = 0;
  // Nothing to keep: no need to read it.
  const SegmentInfo& info = segments_.at(segment);
  if (info.live_entries == 0 && info.hiding_entries == 0) next_block_ = info.end_block;
}

absl::Status Cleaner::Step() {
  if (!active() || reading_) return absl::OkStatus();
  const std::uint32_t end = segments_.at(*segment_).end_block;
  for (std::uint32_t i = 0; i < kSlots && next_block_ < end; ++i) {
    Slot& slot = slots_[i];
    if (slot.state != SlotState::kFree) continue;
    slot.state = SlotState::kReading;
    slot.first_block = next_block_;
    slot.block_count = std::min(kChunkBlocks, end - next_block_);
    reading_ = true;
    return device_.SubmitRead(kReadTag | i, {*segment_, next_block_},
                              slot.bytes.first(slot.block_count * disk::kBlockBytes));
  }
  return absl::OkStatus();
}

void Cleaner::OnReadDone(std::uint64_t tag, int error) {
  const auto slot_index = static_cast<std::uint32_t>(tag & ~kReadTag);
  Slot& slot = slots_.at(slot_index);
  reading_ = false;
  slot.state = SlotState::kCopying;
  slot.undecided = 0;
  if (error != 0) GiveUp(absl::StrCat("read error ", error));
  while (error == 0 && next_block_ < slot.first_block + slot.block_count) {
    const absl::StatusOr<bool> taken = TakeBatch(slot_index, next_block_ - slot.first_block);
    if (!taken.ok()) GiveUp(std::string(taken.status().message()));
    if (!taken.ok() || !*taken) break;
  }
  if (slot.undecided == 0) slot.state = SlotState::kFree;
}

bool Cleaner::HidingEntryWanted(const disk::Entry& entry, std::uint64_t written_seq) const {
  if (!segments_.HidingEntryNeeded(written_seq)) return false;
  if (entry.kind == disk::EntryKind::kEnd) return true;
  const SpaceRecord* space = index_.FindSpace(SpaceId(entry.space));
  return space != nullptr && !space->ended;  // the end of the space hides what its trims hid
}

absl::StatusOr<bool> Cleaner::TakeBatch(std::uint32_t slot_index, std::uint32_t at) {
  const Slot& slot = slots_[slot_index];
  const std::span<const std::byte> bytes = slot.bytes.subspan(at * disk::kBlockBytes);
  const disk::DecodedHeader batch = disk::DecodeHeader(disk::ConstBlock(bytes.first<disk::kBlockBytes>()));
  const disk::BatchHeader& header = batch.header;
  if (batch.fault != disk::HeaderFault::kNone)
    return absl::DataLossError(absl::StrCat("block ", next_block_, ": ", batch.reason));
  if (header.store_uuid != store_uuid_ || header.segment != *segment_ || header.block != next_block_ ||
      header.generation != segments_.at(*segment_).generation)
    return absl::DataLossError(absl::StrCat("block ", next_block_, ": the header is of another place or time"));
  if (at + 1 + header.data_blocks > slot.block_count) return false;
  for (const disk::Entry& entry : batch.entries) Offer(slot_index, header, entry);
  next_block_ += 1U + header.data_blocks;
  return true;
}

void Cleaner::Offer(std::uint32_t slot_index, const disk::BatchHeader& header, const disk::Entry& entry) {
  const std::uint64_t written_seq = header.trims_upto != 0 ? header.trims_upto : header.batch_seq;
  const bool hiding = IsHidingEntry(entry);
  if (!(hiding ? HidingEntryWanted(entry, written_seq) : index_.IsLive(entry, *segment_))) return;
  Slot& slot = slots_[slot_index];
  PendingEntry copy{.entry = entry, .source = EntrySource::kCleaner, .index = slot_index};
  if (entry.kind == disk::EntryKind::kPage) {  // an `open` is written from what the index knows
    const std::span<const std::byte> data =
        slot.bytes.subspan((entry.block - slot.first_block) * disk::kBlockBytes, disk::kBlockBytes);
    if (disk::EntryCrc(entry, data) == entry.crc) {
      copy.data = data.data();
    } else {
      const SpaceId space(entry.space);
      const PageNumber page(entry.page);
      ReportBad(index_, counters_, space, page, *index_.FindPage(space, page), 0);
      copy.entry.kind = disk::EntryKind::kLost;
      copy.entry.crc = disk::EntryCrc(entry, {});
    }
  }
  if (copy.entry.kind == disk::EntryKind::kLost) copy.entry.count = *segment_;
  copy.first_written_seq = hiding ? written_seq : 0;
  copy.from_segment = *segment_;
  copy.from_block = entry.block;
  waiting_.push_back(std::move(copy));
  ++slot.undecided;
}

bool Cleaner::StillNeeded(const PendingEntry& copy) const {
  if (IsHidingEntry(copy.entry)) return HidingEntryWanted(copy.entry, copy.first_written_seq);
  disk::Entry original = copy.entry;
  original.block = copy.from_block;
  return index_.IsLive(original, copy.from_segment);
}

void Cleaner::OnCopyDecided(const PendingEntry& copy) {
  Slot& slot = slots_.at(copy.index);
  ASHLAR_CHECK(slot.state == SlotState::kCopying && slot.undecided > 0, "slot={}", copy.index);
  if (--slot.undecided == 0) slot.state = SlotState::kFree;
}

void Cleaner::GiveUp(std::string_view why) {
  log::Error("replica_log: segment cannot be cleaned segment={} why={}: it is kept as it is; its pages need repair",
             *segment_, why);
  segments_.at(*segment_).unreadable = true;
  next_block_ = segments_.at(*segment_).end_block;
}

std::optional<std::uint32_t> Cleaner::TakeFinished() {
  if (!active() || next_block_ < segments_.at(*segment_).end_block) return std::nullopt;
  if (std::any_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s.state != SlotState::kFree; }))
    return std::nullopt;
  return std::exchange(segment_, std::nullopt);
}

}  // namespace ashlar::snode
