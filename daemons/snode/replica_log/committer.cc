#include "daemons/snode/replica_log/committer.h"

#include <algorithm>
#include <array>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"

namespace ashlar::snode {
namespace {

constexpr std::uint32_t kMinRoom = 2;  // a header and one data block; below it the segment is closed
constexpr std::size_t kMaxFooterEntries = disk::kMaxEntries + 1;  // that one batch adds to the footer

std::uint64_t WallNs() {
  timespec now;
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace

void SegmentLife::Add(std::span<const disk::Entry> batch_entries, std::uint64_t written_seq) {
  const bool hides = std::any_of(batch_entries.begin(), batch_entries.end(), [](const disk::Entry& entry) {
    return entry.kind == disk::EntryKind::kTrim || entry.kind == disk::EntryKind::kEnd;
  });
  if (hides) entries.push_back({.space = written_seq, .kind = disk::EntryKind::kWritten});
  entries.insert(entries.end(), batch_entries.begin(), batch_entries.end());
}

absl::StatusOr<std::unique_ptr<Committer>> Committer::Make(LogDevice& device, SegmentTable& segments,
                                                           const Clock& clock, LogCounters& counters,
                                                           const disk::StoreUuid& store_uuid, ChainEnd end) {
  ASHLAR_ASSIGN_OR_RETURN(Mapping headers, Mapping::Anonymous(kMaxInFlight * disk::kBlockBytes));
  return std::unique_ptr<Committer>(
      new Committer(device, segments, clock, counters, store_uuid, end, std::move(headers)));
}

Committer::Committer(LogDevice& device, SegmentTable& segments, const Clock& clock, LogCounters& counters,
                     const disk::StoreUuid& store_uuid, ChainEnd end, Mapping headers)
    : device_(device),
      segments_(segments),
      clock_(clock),
      counters_(counters),
      store_uuid_(store_uuid),
      headers_(std::move(headers)),
      next_seq_(end.next_seq),
      resumes_(end.resumes),
      prev_crc_(end.header_crc),
      durable_upto_(end.resumes),
      durable_crc_(end.header_crc) {
  for (std::size_t i = 0; i < kMaxInFlight; ++i)
    free_headers_.push_back(disk::Block(headers_.bytes().subspan(i * disk::kBlockBytes).first<disk::kBlockBytes>()));
}

std::uint32_t Committer::RoomInOpenSegment() const {
  if (open_segment_ < 0) return 0;
  // The footer of what is there and of one more full batch, and the seal, must still fit.
  const std::uint32_t kept = disk::FooterBlocks(static_cast<std::uint32_t>(life_.entries.size() + kMaxFooterEntries));
  // A little more, which the cleaner gets when no segment is free: its copies of a full one may be less well packed.
  const std::uint32_t slack = segments_.free_count() == 0 ? 0 : segments_.blocks() / 64;
  const std::uint32_t taken = next_block_ + kept + slack;
  const std::uint32_t room = taken < segments_.blocks() ? segments_.blocks() - taken : 0;
  return room < kMinRoom ? 0 : room;
}

std::uint32_t Committer::RoomFor(EntrySource source) const {
  const std::uint32_t here = RoomInOpenSegment();
  const std::uint32_t free = segments_.free_count();
  if (here > 0) return free >= MinFree(source) ? here : 0;
  if (free < MinFree(source) + 1) return 0;
  return segments_.blocks() - disk::FooterBlocks(static_cast<std::uint32_t>(kMaxFooterEntries)) -
         segments_.blocks() / 64;
}

absl::Status Committer::OpenSegment() {
  const std::optional<std::uint32_t> free = segments_.NextFree();
  if (!free) return absl::ResourceExhaustedError("replica_log: no free segment is left");
  SegmentInfo& info = segments_.at(*free);
  ++info.generation;
  info.end_block = 0;
  info.hiding_entries = 0;  // all copied when it was cleaned; first_seq stays until the first batch is durable
  segments_.SetState(*free, SegmentState::kOpen);
  open_segment_ = *free;
  next_block_ = 0;
  segment_started_ = false;
  life_ = {.segment = *free};
  return absl::OkStatus();
}

void Committer::CloseSegment() {
  if (open_segment_ >= 0) segments_.SetState(static_cast<std::uint32_t>(open_segment_), SegmentState::kClosed);
  open_segment_ = -1;
}

disk::Block Committer::TakeHeader() {
  ASHLAR_CHECK(!free_headers_.empty(), "more batches in flight than headers");
  const disk::Block header = free_headers_.back();
  free_headers_.pop_back();
  return header;
}

absl::Status Committer::Submit(std::vector<PendingEntry> entries) {
  ASHLAR_CHECK(CanSubmit() && entries.size() <= disk::kMaxEntries, "in_flight={} entries={}", in_flight_.size(),
               entries.size());
  counters_.batch_pages.Add(entries.size());
  in_flight_.push_back({.batch = {.entries = std::move(entries)}, .header = TakeHeader()});
  return Write(&in_flight_.back());
}

// Gives the batch its number and place, and every entry its block.
disk::BatchHeader Committer::Place(CommittedBatch* batch) {
  batch->segment = static_cast<std::uint32_t>(open_segment_);
  batch->starts_segment = !segment_started_;
  batch->batch_seq = next_seq_++;
  const std::uint32_t header_block = next_block_;
  std::uint32_t next = header_block + 1;
  std::uint64_t trims_upto = 0;
  for (PendingEntry& pending : batch->entries) {
    pending.entry.block = 0;
    if (pending.data != nullptr) pending.entry.block = static_cast<std::uint16_t>(next++);
    trims_upto = std::max(trims_upto, pending.first_written_seq);
  }
  batch->trims_upto = trims_upto;  // 0 when the trims and ends of the batch, if any, are new
  batch->end_block = next;
  segment_started_ = true;
  next_block_ = next;
  return {.magic = disk::kBatchMagic,
          .format = disk::kFormat,
          .kind = batch->entries.empty() ? disk::BatchKind::kMark : disk::BatchKind::kData,
          .flags = 0,
          .entry_count = static_cast<std::uint16_t>(batch->entries.size()),
          .data_blocks = static_cast<std::uint16_t>(next - header_block - 1),
          .header_crc = 0,
          .prev_header_crc = prev_crc_,
          .store_uuid = store_uuid_,
          .segment = batch->segment,
          .block = header_block,
          .generation = segments_.at(batch->segment).generation,
          .batch_seq = batch->batch_seq,
          .durable_upto = durable_upto_,
          .written_at_ns = WallNs(),
          .resumes = resumes_,
          .trims_upto = batch->trims_upto,
          .zero = {}};
}

absl::Status Committer::Write(InFlight* in_flight) {
  CommittedBatch& batch = in_flight->batch;
  std::size_t data_blocks = 0;
  for (const PendingEntry& pending : batch.entries) data_blocks += pending.data != nullptr ? 1 : 0;
  if (RoomInOpenSegment() < 1 + data_blocks) {
    if (segment_started_ && open_segment_ >= 0) closing_.push_back(std::move(life_));
    CloseSegment();
    ASHLAR_RETURN_IF_ERROR(OpenSegment());
    ASHLAR_RETURN_IF_ERROR(SealAcknowledged());
  }
  const disk::BatchHeader header = Place(&batch);
  std::array<disk::Entry, disk::kMaxEntries> entries;
  std::array<std::span<const std::byte>, LogDevice::kMaxParts> parts;
  std::size_t part_count = 0;
  parts[part_count++] = in_flight->header;
  for (std::size_t i = 0; i < batch.entries.size(); ++i) {
    entries[i] = batch.entries[i].entry;
    if (batch.entries[i].data != nullptr) parts[part_count++] = {batch.entries[i].data, disk::kBlockBytes};
  }
  in_flight->header_crc = disk::EncodeHeader(header, std::span(entries).first(batch.entries.size()), in_flight->header);
  in_flight->durable_upto = header.durable_upto;
  in_flight->blocks = 1U + header.data_blocks;
  in_flight->submitted_ns = clock_.NowNs();
  in_flight->state = InFlight::State::kWriting;
  resumes_ = batch.batch_seq;
  prev_crc_ = in_flight->header_crc;
  if (life_.first_seq == 0) life_.first_seq = batch.batch_seq, life_.resumes = header.resumes;
  life_.last_seq = batch.batch_seq;
  life_.last_crc = in_flight->header_crc;
  life_.end_block = batch.end_block;
  life_.Add(std::span(entries).first(batch.entries.size()), batch.trims_upto != 0 ? batch.trims_upto : batch.batch_seq);
  return device_.SubmitWrite(batch.batch_seq, {batch.segment, header.block}, std::span(parts).first(part_count));
}

// The footer of a full segment is written once all of it is acknowledged, so a seal that is read proves just that. No
// answer waits for it.
absl::Status Committer::SealAcknowledged() {
  while (!closing_.empty() && closing_.front().last_seq <= durable_upto_) {
    const SegmentLife life = std::move(closing_.front());
    closing_.pop_front();
    if (!segments_.at(life.segment).failed) ASHLAR_RETURN_IF_ERROR(WriteSeal(life));
  }
  return absl::OkStatus();
}

absl::Status Committer::WriteSeal(const SegmentLife& life) {
  const std::uint32_t blocks = disk::FooterBlocks(static_cast<std::uint32_t>(life.entries.size()));
  ASHLAR_ASSIGN_OR_RETURN(Mapping bytes, Mapping::Anonymous(blocks * disk::kBlockBytes));
  const std::span<std::byte> out = bytes.bytes().first(blocks * disk::kBlockBytes);
  disk::EncodeFooter({.magic = disk::kBatchMagic,
                      .format = disk::kFormat,
                      .kind = disk::BatchKind::kFooter,
                      .flags = 0,
                      .entry_count = 0,
                      .data_blocks = 0,
                      .header_crc = 0,
                      .prev_header_crc = life.last_crc,
                      .store_uuid = store_uuid_,
                      .segment = life.segment,
                      .block = 0,
                      .generation = segments_.at(life.segment).generation,
                      .batch_seq = life.last_seq,
                      .durable_upto = durable_upto_,
                      .written_at_ns = WallNs(),
                      .resumes = life.resumes,
                      .trims_upto = 0,
                      .zero = {}},
                     life.entries, life.first_seq, life.end_block, segments_.blocks(), out);
  seals_.push_back({.segment = life.segment, .durable_upto = durable_upto_, .bytes = std::move(bytes)});
  const std::span<const std::byte> part = out;
  return device_.SubmitWrite(kSealTag | life.segment, {life.segment, segments_.blocks() - blocks}, {&part, 1});
}

absl::Status Committer::SealLeftOver(const SegmentLife& life) {
  if (life.end_block + disk::FooterBlocks(static_cast<std::uint32_t>(life.entries.size())) > segments_.blocks()) return absl::OkStatus();
  return WriteSeal(life);
}

// A footer only makes the next start faster; but a disk that refuses it is not written to again at that place.
absl::Status Committer::OnSealDone(std::uint32_t segment, int error) {
  const auto seal = std::find_if(seals_.begin(), seals_.end(), [segment](const SealWrite& s) { return s.segment == segment; });
  ASHLAR_CHECK(seal != seals_.end(), "completion of the footer of segment {} that is not being written", segment);
  if (error != 0) {
    counters_.write_errors_total.Add();
    segments_.at(segment).failed = true;
    log::Error("replica_log: footer failed segment={} error={}: the segment is taken out of use once it is cleaned; check the disk", segment, error);
  } else {
    counters_.sealed_segments_total.Add();
    counters_.bytes_written_total.Add(seal->bytes.bytes().size());
    durable_upto_on_disk_ = std::max(durable_upto_on_disk_, seal->durable_upto);
  }
  seals_.erase(seal);
  return absl::OkStatus();
}

absl::Status Committer::OnWriteDone(std::uint64_t tag, int error) {
  if ((tag & kSealTag) != 0) return OnSealDone(static_cast<std::uint32_t>(tag & ~kSealTag), error);
  auto it =
      std::find_if(in_flight_.begin(), in_flight_.end(), [tag](const InFlight& f) { return f.batch.batch_seq == tag; });
  ASHLAR_CHECK(it != in_flight_.end(), "completion of batch {} that is not in flight", tag);
  if (error != 0) {
    counters_.write_errors_total.Add();
    log::Error(
        "replica_log: write failed segment={} batch_seq={} error={}: the segment is taken out of use; check the disk",
        it->batch.segment, tag, error);
    it->state = InFlight::State::kFailed;
    segments_.at(it->batch.segment).failed = true;
    failing_ = true;
  } else {
    it->state = InFlight::State::kDurable;
    counters_.commit_ns.Add(clock_.NowNs() - it->submitted_ns);
    counters_.bytes_written_total.Add(std::uint64_t{it->blocks} * disk::kBlockBytes);
  }
  while (!in_flight_.empty() && in_flight_.front().state == InFlight::State::kDurable) {
    InFlight& front = in_flight_.front();
    durable_upto_ = front.batch.batch_seq;
    durable_crc_ = front.header_crc;
    durable_upto_on_disk_ = std::max(durable_upto_on_disk_, front.durable_upto);
    if (!front.batch.entries.empty()) last_data_seq_ = front.batch.batch_seq;
    failed_before_ = false;
    free_headers_.push_back(front.header);
    committed_.push_back(std::move(front.batch));
    in_flight_.pop_front();
  }
  ASHLAR_RETURN_IF_ERROR(SealAcknowledged());
  const bool all_ended = std::none_of(in_flight_.begin(), in_flight_.end(),
                                      [](const InFlight& f) { return f.state == InFlight::State::kWriting; });
  return failing_ && all_ended ? FailOver() : absl::OkStatus();
}

// Nothing is retried in a failed segment. What is not acknowledged is written anew, in a fresh one, under new numbers;
// its `resumes` makes the old ones void.
absl::Status Committer::FailOver() {
  if (failed_before_)
    return absl::DataLossError("replica_log: a second write in a row failed: the disk is not to be trusted any more");
  failed_before_ = true;
  failing_ = false;
  closing_.clear();  // what is rewritten below leaves batches in them that are void
  CloseSegment();
  resumes_ = durable_upto_;
  prev_crc_ = durable_crc_;
  for (InFlight& batch : in_flight_)
    if (absl::Status status = Write(&batch); !status.ok())
      return absl::DataLossError(
          absl::StrCat("replica_log: rewriting a failed batch: ", std::string(status.message())));
  return absl::OkStatus();
}

bool Committer::HasInFlight(std::uint32_t segment) const {
  return std::any_of(seals_.begin(), seals_.end(), [segment](const SealWrite& s) { return s.segment == segment; }) ||
         std::any_of(in_flight_.begin(), in_flight_.end(),
                     [segment](const InFlight& f) { return f.batch.segment == segment; });
}

std::vector<CommittedBatch> Committer::TakeCommitted() { return std::exchange(committed_, {}); }

}  // namespace ashlar::snode
