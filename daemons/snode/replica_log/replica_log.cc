#include "daemons/snode/replica_log/replica_log.h"

#include <poll.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"
#include "daemons/snode/replica_log/recovery.h"

namespace ashlar::snode {
namespace {

constexpr std::size_t kLaunchEntries = 32;  // so many waiting entries start a batch although others are in flight
constexpr std::size_t kCleanerShare = 21;   // entries of a batch kept for the cleaner while it has copies waiting
constexpr std::uint64_t kIdleMarkNs = 50'000'000;

Outcome OutcomeOf(VersionVerdict verdict) {
  switch (verdict) {
    case VersionVerdict::kTake:
      return Outcome::kTaken;
    case VersionVerdict::kAlready:
      return Outcome::kAlready;
    case VersionVerdict::kSuperseded:
      return Outcome::kSuperseded;
    case VersionVerdict::kTwoVersions:
      return Outcome::kTwoVersions;
  }
  return Outcome::kTwoVersions;
}

Outcome JudgeEpoch(const Intake::Space& now, Epoch epoch) {
  if (now.ended) return Outcome::kEnded;
  if (now.open.epoch == Epoch(0)) return Outcome::kUnknownSpace;
  if (epoch == now.open.epoch) return Outcome::kTaken;
  return epoch < now.open.epoch ? Outcome::kStaleEpoch : Outcome::kFutureEpoch;
}

// The `open` entry that carries `record`, with its data block.
absl::Status FillOpen(PendingEntry* pending, SpaceId space, OpenRecord record) {
  ASHLAR_ASSIGN_OR_RETURN(Mapping mapped, Mapping::Anonymous(disk::kBlockBytes));
  auto mapping = std::make_shared<Mapping>(std::move(mapped));
  disk::Block block(mapping->bytes().first<disk::kBlockBytes>());
  EncodeOpen(record, block);
  pending->entry = {.space = space.value(),
                    .epoch = static_cast<std::uint32_t>(record.epoch.value()),
                    .kind = disk::EntryKind::kOpen};
  pending->entry.crc = disk::EntryCrc(pending->entry, block);
  pending->data = block.data();
  pending->owned = std::move(mapping);
  pending->open = std::make_shared<const OpenRecord>(std::move(record));
  return absl::OkStatus();
}

}  // namespace

// One call that waits for its entries.
class Waiter {
 public:
  std::vector<AppendResult> results;  // of an append
  ReplicaLog::AppendDone append_done;
  SpaceId space;  // of any other call
  ReplicaLog::SpaceDone space_done;
  Outcome outcome = Outcome::kTaken;
  std::uint64_t batch_seq = 0;  // highest that an entry of it was written in
  std::uint32_t undecided = 0;
};

ReplicaLog::ReplicaLog(LogOptions options, std::unique_ptr<LogDevice> device, const Clock& clock, Superblock superblock)
    : options_(std::move(options)),
      clock_(clock),
      superblock_(std::move(superblock)),
      device_(std::move(device)),
      segments_(superblock_.segment_count, static_cast<std::uint32_t>(superblock_.segment_bytes / disk::kBlockBytes)),
      index_(segments_) {}

ReplicaLog::~ReplicaLog() {
  device_.reset();  // waits for what is under way, which uses the buffers of the other members
}

absl::StatusOr<std::unique_ptr<ReplicaLog>> ReplicaLog::Open(LogOptions options, std::unique_ptr<LogDevice> device,
                                                             const Clock& clock) {
  ASHLAR_ASSIGN_OR_RETURN(Superblock superblock, OpenStore(*device, options.store));
  std::unique_ptr<ReplicaLog> log(new ReplicaLog(std::move(options), std::move(device), clock, std::move(superblock)));
  ASHLAR_RETURN_IF_ERROR(log->Start());
  return log;
}

absl::Status ReplicaLog::Start() {
  const std::uint64_t begun_ns = MonotonicNs();
  ASHLAR_ASSIGN_OR_RETURN(const Recovered found, Recover(*device_, superblock_, segments_, index_));
  const ChainEnd& end = found.end;
  if (!found.damage.empty())
    index_.ForEachSpace([this](SpaceId id, const SpaceRecord& space) {
      if (!space.ended) suspect_.insert(id);
    });
  counters_.suspect_spaces.Set(suspect_.size());
  counters_.bad_pages.Set(index_.bad_page_count());
  ASHLAR_ASSIGN_OR_RETURN(committer_,
                          Committer::Make(*device_, segments_, clock_, counters_, superblock_.store_uuid, end));
  ASHLAR_ASSIGN_OR_RETURN(cleaner_, Cleaner::Make(*device_, segments_, index_, counters_, superblock_.store_uuid));
  ASHLAR_ASSIGN_OR_RETURN(reader_, PageReader::Make(*device_, index_, counters_, clock_));
  scrubber_ = std::make_unique<Scrubber>(options_.scrub_period_ns, index_, *reader_, counters_, clock_);
  if (committer_->RoomFor(EntrySource::kCleaner) == 0)
    return absl::DataLossError("replica_log: no segment is free to start in, not even one of the reserve");
  ASHLAR_RETURN_IF_ERROR(committer_->Submit({}));  // from here on the old tail is void, for ever
  counters_.marks_total.Add();
  ASHLAR_RETURN_IF_ERROR(WaitIdle());
  for (const SegmentLife& life : found.unsealed) ASHLAR_RETURN_IF_ERROR(committer_->SealLeftOver(life));
  counters_.start_ns.Set(MonotonicNs() - begun_ns);
  log::Info("replica_log: open batches_upto={} spaces={} pages={} segments_free={} of={} footers={} scanned={} damage={} took_ms={}", end.resumes,
            index_.space_count(), index_.page_count(), segments_.free_count(), segments_.count(), found.sealed_segments,
            found.scanned_segments, found.damage.size(), counters_.start_ns.value() / 1'000'000);
  return absl::OkStatus();
}

absl::Status ReplicaLog::WaitIdle() {
  constexpr int kWaitMs = 30'000;
  while (!committer_->idle()) {
    const std::size_t before = committer_->in_flight();
    ASHLAR_RETURN_IF_ERROR(ReapDevice());
    if (committer_->idle() || committer_->in_flight() != before) continue;
    pollfd wait{.fd = device_->event_fd(), .events = POLLIN, .revents = 0};
    if (wait.fd < 0 || ::poll(&wait, 1, kWaitMs) == 0)
      return absl::UnavailableError("replica_log: the disk did not answer the first write");
  }
  return absl::OkStatus();
}

CapacityState ReplicaLog::capacity() const {
  return JudgeCapacity(segments_.live_bytes() + counters_.queued_bytes.value(), segments_.usable_bytes());
}

bool ReplicaLog::idle() const {
  return committer_->idle() && !committer_->sealing() && appends_.empty() && controls_.empty() && ready_.empty() && !cleaner_->active() && reader_->idle();
}

// --- calls ---

absl::Status ReplicaLog::Append(std::span<const PageAppend> pages, AppendDone done) {
  ASHLAR_RETURN_IF_ERROR(failed_);
  std::uint64_t bytes = 0;
  for (const PageAppend& page : pages) {
    if (reinterpret_cast<std::uintptr_t>(page.bytes) % disk::kBlockBytes != 0)
      return absl::InvalidArgumentError("replica_log: page bytes are not aligned to 4096");
    if (page.space == SpaceId(0) || page.version == Version(0) || page.version.value() > kMaxVersion)
      return absl::InvalidArgumentError("replica_log: space 0, or a version that is 0 or beyond 48 bits");
    if (page.bytes != nullptr) bytes += kPageBytes;
  }
  if (capacity() == CapacityState::kFull || counters_.queued_bytes.value() + bytes > options_.queue_bytes) {
    counters_.exhausted_total.Add();
    return absl::ResourceExhaustedError(capacity() == CapacityState::kFull ? "replica_log: the log is full"
                                                                           : "replica_log: the commit queue is full");
  }
  auto waiter = std::make_shared<Waiter>();
  waiter->append_done = std::move(done);
  waiter->results.resize(pages.size());
  for (std::uint32_t i = 0; i < pages.size(); ++i) {
    const PageAppend& page = pages[i];
    const Intake::Space now = intake_.Now(index_, page.space);
    const VersionMark mark{page.version, page.crc};
    AppendResult& result = waiter->results[i];
    result.epoch = now.open.epoch;
    result.outcome = JudgeEpoch(now, page.epoch);
    if (result.outcome == Outcome::kTaken) {
      const std::span<const std::byte> data(page.bytes, page.bytes != nullptr ? kPageBytes : 0);
      if (PageCrc32c(page.space, page.page, page.version, data) != page.crc)
        result.outcome = Outcome::kBadCrc;
      else if (const SpaceRecord* space = index_.FindSpace(page.space))
        result.outcome = OutcomeOf(index_.Judge(*space, page.page, mark));
    }
    if (result.outcome == Outcome::kTaken && intake_.Contradicts(page.space, page.page, mark))
      result.outcome = Outcome::kTwoVersions;
    if (result.outcome != Outcome::kTaken) {
      Count(page, result.outcome);
      if (const PageSlot* held = index_.FindPage(page.space, page.page)) result.stored_version = held->version;
      continue;
    }
    ++waiter->undecided;
    intake_.AcceptPage(page.space, page.page, mark);
    counters_.queued_bytes.Add(page.bytes != nullptr ? kPageBytes : 0);
    appends_.push_back({.entry = {.space = page.space.value(),
                                  .page = page.page.value(),
                                  .version = page.version.value(),
                                  .era = page.era,
                                  .epoch = static_cast<std::uint32_t>(page.epoch.value()),
                                  .crc = page.crc,
                                  .kind = page.bytes != nullptr ? disk::EntryKind::kPage : disk::EntryKind::kZero},
                        .source = EntrySource::kAppend,
                        .data = page.bytes,
                        .waiter = waiter,
                        .index = i,
                        .ticket = next_ticket_++});
  }
  if (waiter->undecided == 0) ready_.push_back(std::move(waiter));
  return absl::OkStatus();
}

void ReplicaLog::Count(const PageAppend& page, Outcome outcome) {
  if (outcome == Outcome::kAlready) return counters_.already_pages_total.Add();
  if (outcome == Outcome::kSuperseded) return counters_.superseded_pages_total.Add();
  if (outcome == Outcome::kTwoVersions)
    log::Error("replica_log: two versions carry one number space={} page={} version={}: a writer is broken",
               page.space.value(), page.page.value(), page.version.value());
  counters_.refused_pages_total.Add();
}

SpaceAnswer ReplicaLog::Answer(SpaceId space, Outcome outcome) const {
  const Intake::Space now = intake_.Now(index_, space);
  const SpaceRecord* record = index_.FindSpace(space);
  return {.outcome = outcome,
          .epoch = now.open.epoch,
          .era = record != nullptr ? record->era : 0,
          .view = now.open.view,
          .durable_batch_seq = committer_->durable_upto()};
}

void ReplicaLog::AnswerNow(SpaceId space, Outcome outcome, SpaceDone done) {
  auto waiter = std::make_shared<Waiter>();
  waiter->space = space;
  waiter->outcome = outcome;
  waiter->space_done = std::move(done);
  ready_.push_back(std::move(waiter));
}

absl::Status ReplicaLog::Control(SpaceId space, std::vector<PendingEntry> entries, const Intake::Space& now,
                                 SpaceDone done) {
  auto waiter = std::make_shared<Waiter>();
  waiter->space = space;
  waiter->space_done = std::move(done);
  intake_.AcceptControl(space, now, static_cast<std::uint32_t>(entries.size()));
  for (PendingEntry& entry : entries) {
    entry.source = EntrySource::kControl;
    entry.waiter = waiter;
    entry.ticket = next_ticket_++;
    ++waiter->undecided;
    controls_.push_back(std::move(entry));
  }
  return absl::OkStatus();
}

absl::Status ReplicaLog::OpenSpace(SpaceId space, const OpenRecord& record, SpaceDone done) {
  ASHLAR_RETURN_IF_ERROR(failed_);
  ASHLAR_RETURN_IF_ERROR(CheckOpen(space, record.epoch, record.owner));
  if (record.view == 0 || record.replicas.size() > kMaxReplicas)
    return absl::InvalidArgumentError("replica_log: view 0, or too many replicas");
  Intake::Space now = intake_.Now(index_, space);
  Outcome refused = Outcome::kTaken;
  if (now.ended)
    refused = Outcome::kEnded;
  else if (record.epoch < now.open.epoch || (record.epoch == now.open.epoch && record.owner != now.open.owner))
    refused = Outcome::kStaleEpoch;
  else if (record.epoch == now.open.epoch && record.view < now.open.view)
    refused = Outcome::kStaleView;
  if (refused != Outcome::kTaken) return AnswerNow(space, refused, std::move(done)), absl::OkStatus();
  return AcceptOpen(space, std::move(now), record, std::move(done));
}

absl::Status ReplicaLog::Fence(SpaceId space, Epoch epoch, NodeInstance owner, SpaceDone done) {
  ASHLAR_RETURN_IF_ERROR(failed_);
  ASHLAR_RETURN_IF_ERROR(CheckOpen(space, epoch, owner));
  Intake::Space now = intake_.Now(index_, space);
  if (now.ended) return AnswerNow(space, Outcome::kEnded, std::move(done)), absl::OkStatus();
  if (epoch < now.open.epoch || (epoch == now.open.epoch && owner != now.open.owner))
    return AnswerNow(space, Outcome::kStaleEpoch, std::move(done)), absl::OkStatus();
  OpenRecord record = now.open;
  if (epoch > now.open.epoch) record.home = {};  // until the new home opens it
  record.epoch = epoch;
  record.owner = owner;
  return AcceptOpen(space, std::move(now), std::move(record), std::move(done));
}

absl::Status ReplicaLog::CheckOpen(SpaceId space, Epoch epoch, NodeInstance owner) const {
  if (space == SpaceId(0) || owner.node == NodeId(0))
    return absl::InvalidArgumentError("replica_log: space 0 or owner 0");
  if (epoch == Epoch(0) || epoch.value() > std::numeric_limits<std::uint32_t>::max())
    return absl::InvalidArgumentError(absl::StrCat("replica_log: epoch ", epoch.value(), " is out of bounds"));
  return absl::OkStatus();
}

absl::Status ReplicaLog::AcceptOpen(SpaceId space, Intake::Space now, OpenRecord record, SpaceDone done) {
  const SpaceRecord* known = index_.FindSpace(space);
  record.era = std::max(record.era, known != nullptr ? known->era : 0);
  if (now.pending == 0 && now.open.epoch == record.epoch) {  // asked again: is it as it is?
    OpenRecord same = now.open;
    same.era = record.era;
    if (same == record) return AnswerNow(space, Outcome::kTaken, std::move(done)), absl::OkStatus();
  }
  std::vector<PendingEntry> entries(1);
  ASHLAR_RETURN_IF_ERROR(FillOpen(&entries[0], space, record));
  if (record.epoch > now.open.epoch) counters_.fences_total.Add();
  now.open = std::move(record);
  return Control(space, std::move(entries), now, std::move(done));
}

absl::Status ReplicaLog::Trim(SpaceId space, Epoch epoch, std::span<const TrimRange> ranges, SpaceDone done) {
  ASHLAR_RETURN_IF_ERROR(failed_);
  for (const TrimRange& range : ranges)
    if (range.count == 0 || range.count > std::numeric_limits<std::uint32_t>::max() || range.upto == Version(0) ||
        range.upto.value() > kMaxVersion || range.first.value() + range.count < range.first.value())
      return absl::InvalidArgumentError("replica_log: a trimmed range or its version is out of bounds");
  const Intake::Space now = intake_.Now(index_, space);
  const Outcome outcome = JudgeEpoch(now, epoch);
  if (outcome != Outcome::kTaken || ranges.empty()) return AnswerNow(space, outcome, std::move(done)), absl::OkStatus();
  std::vector<PendingEntry> entries(ranges.size());
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    entries[i].entry = {.space = space.value(),
                        .page = ranges[i].first.value(),
                        .version = ranges[i].upto.value(),
                        .era = ranges[i].era,
                        .epoch = static_cast<std::uint32_t>(epoch.value()),
                        .kind = disk::EntryKind::kTrim,
                        .count = static_cast<std::uint32_t>(ranges[i].count)};
    entries[i].entry.crc = disk::EntryCrc(entries[i].entry, {});
  }
  counters_.trims_total.Add(ranges.size());
  return Control(space, std::move(entries), now, std::move(done));
}

absl::Status ReplicaLog::EndSpace(SpaceId space, Epoch epoch, SpaceDone done) {
  ASHLAR_RETURN_IF_ERROR(failed_);
  Intake::Space now = intake_.Now(index_, space);
  const Outcome outcome = JudgeEpoch(now, epoch);
  // Ended durably, or never known: there is nothing to end. Ended but not yet durable: write it once more and wait.
  if (outcome == Outcome::kEnded && now.pending == 0)
    return AnswerNow(space, Outcome::kAlready, std::move(done)), absl::OkStatus();
  // A higher epoch may end it too: nothing comes after an end that it could let in.
  if (outcome != Outcome::kTaken && outcome != Outcome::kEnded && outcome != Outcome::kFutureEpoch)
    return AnswerNow(space, outcome, std::move(done)), absl::OkStatus();
  std::vector<PendingEntry> entries(1);
  entries[0].entry = {.space = space.value(),
                      .epoch = static_cast<std::uint32_t>(now.open.epoch.value()),
                      .kind = disk::EntryKind::kEnd};
  entries[0].entry.crc = disk::EntryCrc(entries[0].entry, {});
  now.ended = true;
  counters_.ended_spaces_total.Add();
  return Control(space, std::move(entries), now, std::move(done));
}

// --- the loop ---

absl::Status ReplicaLog::Poll() {
  ASHLAR_RETURN_IF_ERROR(failed_);
  absl::Status status = ReapDevice();
  if (status.ok()) status = StepCleaner();
  if (status.ok()) status = FormBatches();
  if (status.ok()) status = MarkIfIdle();
  if (status.ok()) status = scrubber_->Step(committer_->idle() && appends_.empty() && reader_->idle());
  if (!status.ok()) {
    log::Error("replica_log: stopped status={}", status);
    return failed_ = std::move(status);
  }
  if (const CapacityState now = capacity(); now != last_capacity_) {
    last_capacity_ = now;
    log::Warn("replica_log: capacity state={} live_bytes={} usable_bytes={}", CapacityWord(now), segments_.live_bytes(),
              segments_.usable_bytes());
  }
  counters_.bad_pages.Set(index_.bad_page_count());
  RunReady();
  return reader_->RunDone();
}

absl::Status ReplicaLog::ReapDevice() {
  completions_.clear();
  ASHLAR_RETURN_IF_ERROR(device_->Reap(&completions_));
  for (const LogDevice::Completion& completion : completions_) {
    if ((completion.tag & Cleaner::kReadTag) != 0)
      cleaner_->OnReadDone(completion.tag, completion.error);
    else if ((completion.tag & PageReader::kReadTag) != 0)
      ASHLAR_RETURN_IF_ERROR(reader_->OnReadDone(completion.tag, completion.error));
    else
      ASHLAR_RETURN_IF_ERROR(committer_->OnWriteDone(completion.tag, completion.error));
  }
  for (CommittedBatch& batch : committer_->TakeCommitted()) ApplyBatch(std::move(batch));
  return absl::OkStatus();
}

void ReplicaLog::ApplyBatch(CommittedBatch batch) {
  SegmentInfo& info = segments_.at(batch.segment);
  if (batch.starts_segment) {  // what it held before is gone
    info.first_seq = batch.batch_seq;
    index_.ForgetHidden();
    RetireFailed();
  }
  info.end_block = batch.end_block;
  last_commit_ns_ = clock_.NowNs();
  const std::uint64_t written_seq = batch.trims_upto != 0 ? batch.trims_upto : batch.batch_seq;
  for (PendingEntry& pending : batch.entries) {
    const Outcome outcome = OutcomeOf(index_.Apply(pending.entry, batch.segment, written_seq, pending.open.get()));
    Decide(&pending, outcome, batch.batch_seq);
  }
}

// An entry is durable, or was dropped before it was written.
void ReplicaLog::Decide(PendingEntry* pending, Outcome outcome, std::uint64_t batch_seq) {
  const SpaceId space(pending->entry.space);
  const PageNumber page(pending->entry.page);
  if (pending->source == EntrySource::kCleaner) {
    if (batch_seq != 0 && pending->data != nullptr) counters_.cleaned_pages_total.Add();
    return cleaner_->OnCopyDecided(*pending);
  }
  Waiter& waiter = *pending->waiter;
  waiter.batch_seq = std::max(waiter.batch_seq, batch_seq);
  if (pending->source == EntrySource::kControl) {
    intake_.OnControlDurable(space);
  } else {
    intake_.OnPageDecided(space, page);
    const std::uint64_t bytes = pending->data != nullptr ? kPageBytes : 0;
    counters_.queued_bytes.Sub(bytes);
    if (batch_seq != 0) counters_.payload_bytes_total.Add(bytes);
    if (outcome == Outcome::kTaken)
      counters_.appended_pages_total.Add();
    else
      Count({.space = space, .page = page, .version = Version(pending->entry.version)}, outcome);
    const PageSlot* held = index_.FindPage(space, page);
    waiter.results[pending->index] = {.outcome = outcome,
                                      .stored_version = held != nullptr ? held->version : Version(0),
                                      .epoch = intake_.Now(index_, space).open.epoch};
  }
  if (--waiter.undecided == 0) ready_.push_back(std::move(pending->waiter));
}

// Appends wait and no segment may be opened for them.
bool ReplicaLog::Blocked() const {
  return (!appends_.empty() && committer_->RoomFor(EntrySource::kAppend) == 0) ||
         (!controls_.empty() && committer_->RoomFor(EntrySource::kControl) == 0);
}

absl::Status ReplicaLog::StepCleaner() {
  FinishCleaning();
  // Far from full a segment is cleaned ahead of need if that is cheap; when calls wait for room, whatever it costs.
  const std::uint32_t wanted_free = SegmentTable::kReserved + std::max(2U, segments_.count() / 8);
  while (!cleaner_->active() && segments_.free_count() < wanted_free) {
    const std::optional<std::uint32_t> oldest = segments_.OldestClosed();
    if (!oldest || committer_->HasInFlight(*oldest)) break;
    const std::uint64_t segment_bytes = std::uint64_t{segments_.blocks()} * disk::kBlockBytes;
    if (!Blocked() && segments_.at(*oldest).live_bytes > segment_bytes / 4 * 3) break;
    cleaner_->Start(*oldest);
    FinishCleaning();  // at once if there is nothing to keep
  }
  return cleaner_->Step();
}

void ReplicaLog::FinishCleaning() {
  const std::optional<std::uint32_t> cleaned = cleaner_->TakeFinished();
  if (!cleaned) return;
  SegmentInfo& info = segments_.at(*cleaned);
  if (info.unreadable) return;
  ASHLAR_CHECK(info.live_entries == 0, "segment {} was cleaned, {} entries are live", *cleaned, info.live_entries);
  counters_.cleaned_segments_total.Add();
  segments_.SetState(*cleaned, info.failed ? SegmentState::kRetired : SegmentState::kFree);
  RetireFailed();
}

// A start no longer looks at a retired segment, so older batches must be gone first: they would end in a gap. Rare, so
// it may wait for the disk.
void ReplicaLog::RetireFailed() {
  const std::uint64_t oldest = segments_.OldestSeq();
  for (std::uint32_t s = 0; s < segments_.count(); ++s) {
    SegmentInfo& info = segments_.at(s);
    if (info.state != SegmentState::kRetired || !info.failed || (info.first_seq != 0 && info.first_seq > oldest))
      continue;
    if (superblock_.retired.size() == kMaxRetiredSegments) return;
    info.failed = false;
    info.first_seq = 0;
    superblock_.retired.push_back(s);
    const absl::Status status = UpdateSuperblock(*device_, &superblock_);
    log::Warn("replica_log: segment is out of use for good segment={} retired={} status={}", s,
              superblock_.retired.size(), status);
  }
}

absl::Status ReplicaLog::FormBatches() {
  while (committer_->CanSubmit()) {
    const std::size_t copies = cleaner_->waiting().size();
    const std::size_t calls = (committer_->RoomFor(EntrySource::kAppend) > 0 ? appends_.size() : 0) +
                              (committer_->RoomFor(EntrySource::kControl) > 0 ? controls_.size() : 0);
    if (calls + copies == 0 || (committer_->in_flight() > 0 && calls + copies < kLaunchEntries)) break;
    // Copies alone are in no hurry, and few to a batch would waste the room that cleaning is to win.
    if (calls == 0 && copies < disk::kMaxEntries && cleaner_->reading()) break;
    std::vector<PendingEntry> batch = FormBatch();
    if (batch.empty()) break;
    ASHLAR_RETURN_IF_ERROR(committer_->Submit(std::move(batch)));
  }
  return absl::OkStatus();
}

std::vector<PendingEntry> ReplicaLog::FormBatch() {
  std::vector<PendingEntry> batch;
  const std::uint32_t append_room = committer_->RoomFor(EntrySource::kAppend);
  const std::uint32_t control_room = committer_->RoomFor(EntrySource::kControl);
  std::uint32_t blocks = committer_->RoomFor(EntrySource::kCleaner);
  if (blocks == 0) return batch;
  --blocks;  // the header
  const auto take = [&](std::deque<PendingEntry>* queue) {
    if (queue->front().data != nullptr && blocks == 0) return false;
    PendingEntry pending = std::move(queue->front());
    queue->pop_front();
    if (const Outcome outcome = JudgeAtForming(&pending); outcome != Outcome::kTaken) {
      Decide(&pending, outcome, 0);
      return true;
    }
    if (pending.data != nullptr) --blocks;
    batch.push_back(std::move(pending));
    return true;
  };
  auto& copies = cleaner_->waiting();
  const std::size_t limit = disk::kMaxEntries - std::min(kCleanerShare, copies.size());
  while (batch.size() < limit) {  // in order of arrival, unless appends have to wait for room
    std::deque<PendingEntry>* first = append_room > 0 && !appends_.empty() ? &appends_ : nullptr;
    if (control_room > 0 && !controls_.empty() &&
        (first == nullptr || controls_.front().ticket < appends_.front().ticket))
      first = &controls_;
    if (first == nullptr || !take(first)) break;
  }
  // Copies of trims and ends keep apart from new ones: a batch states one age for all of them (trims_upto).
  const bool new_hiding = std::any_of(batch.begin(), batch.end(), [](const PendingEntry& e) { return e.hides(); });
  while (batch.size() < disk::kMaxEntries && !copies.empty() && !(new_hiding && copies.front().hides()) &&
         take(&copies)) {
  }
  return batch;
}

// What may have changed since the entry was accepted: a fence or an end that overtook it, a higher version, a copy that
// died.
Outcome ReplicaLog::JudgeAtForming(PendingEntry* pending) {
  const SpaceId space(pending->entry.space);
  if (pending->source == EntrySource::kCleaner) {
    if (!cleaner_->StillNeeded(*pending)) return Outcome::kSuperseded;
    if (pending->entry.kind != disk::EntryKind::kOpen) return Outcome::kTaken;
    OpenRecord record = intake_.Now(index_, space).formed;
    record.era = index_.FindSpace(space)->era;
    return FillOpen(pending, space, std::move(record)).ok() ? Outcome::kTaken : Outcome::kSuperseded;
  }
  if (pending->source == EntrySource::kControl) {
    if (pending->open != nullptr) intake_.OnOpenFormed(space, *pending->open);
    if (pending->entry.kind == disk::EntryKind::kEnd) intake_.OnEndFormed(space);
    return Outcome::kTaken;
  }
  const Intake::Space now = intake_.Now(index_, space);
  if (now.end_formed) return Outcome::kEnded;
  if (Epoch(pending->entry.epoch) < now.formed.epoch) return Outcome::kStaleEpoch;
  const SpaceRecord* record = index_.FindSpace(space);
  if (record == nullptr) return Outcome::kTaken;
  return OutcomeOf(
      index_.Judge(*record, PageNumber(pending->entry.page), {Version(pending->entry.version), pending->entry.crc}));
}

absl::Status ReplicaLog::MarkIfIdle() {
  if (!committer_->NeedsMark() || !committer_->idle() || clock_.NowNs() < last_commit_ns_ + kIdleMarkNs)
    return absl::OkStatus();
  if (committer_->RoomFor(EntrySource::kControl) == 0) return absl::OkStatus();
  counters_.marks_total.Add();
  return committer_->Submit({});
}

std::optional<std::uint64_t> ReplicaLog::NextDeadlineNs() const {
  if (!ready_.empty() || reader_->has_done()) return 0;
  const bool can_form = committer_->idle() && !Blocked() && (!appends_.empty() || !controls_.empty());
  if (can_form || (committer_->idle() && !cleaner_->waiting().empty() && !cleaner_->reading())) return 0;
  const std::optional<std::uint64_t> scrub = scrubber_->NextDeadlineNs();
  if (!committer_->NeedsMark() || !committer_->idle()) return scrub;
  return std::min(last_commit_ns_ + kIdleMarkNs, scrub.value_or(~std::uint64_t{0}));
}

void ReplicaLog::RunReady() {
  for (const std::shared_ptr<Waiter>& waiter : std::exchange(ready_, {})) {
    if (waiter->append_done) {
      waiter->append_done(waiter->results);
      continue;
    }
    SpaceAnswer answer = Answer(waiter->space, waiter->outcome);
    if (waiter->batch_seq != 0) answer.durable_batch_seq = waiter->batch_seq;
    waiter->space_done(answer);
  }
}

SpaceAnswer ReplicaLog::JudgeReader(SpaceId space, Epoch epoch) const {
  return Answer(space, JudgeEpoch(intake_.Now(index_, space), epoch));
}

void ReplicaLog::ClearSuspect(SpaceId space) {
  suspect_.erase(space);
  counters_.suspect_spaces.Set(suspect_.size());
}

absl::Status ReplicaLog::ReadPages(SpaceId space, std::span<const PageNumber> pages, PageReader::Done done) {
  ASHLAR_RETURN_IF_ERROR(failed_);
  return reader_->Start(space, pages, std::move(done));
}

absl::StatusOr<StoredPage> ReplicaLog::ReadPage(SpaceId space, PageNumber page, std::span<std::byte, kPageBytes> out) {
  const PageSlot* slot = index_.FindPage(space, page);
  if (slot == nullptr)
    return absl::NotFoundError(absl::StrCat("replica_log: space ", space.value(), " page ", page.value()));
  StoredPage stored{.version = slot->version, .era = slot->era, .crc = slot->crc, .zero = slot->zero()};
  const auto lost = [&] {
    return absl::DataLossError(absl::StrCat("replica_log: segment ", slot->segment, " block ", slot->block, ": space ",
                                            space.value(), " page ", page.value(), " version ", slot->version.value(),
                                            ": crc does not match"));
  };
  if (slot->bad) return lost();
  if (stored.zero) {
    std::fill(out.begin(), out.end(), std::byte{0});
    return stored;
  }
  ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(kPageBytes));  // O_DIRECT wants it aligned
  ASHLAR_RETURN_IF_ERROR(device_->Read({slot->segment, slot->block}, buffer.bytes().first(kPageBytes)));
  if (PageCrc32c(space, page, slot->version, buffer.bytes().first(kPageBytes)) != slot->crc)
    return lost();
  std::copy_n(buffer.bytes().begin(), kPageBytes, out.begin());
  return stored;
}

void ReplicaLog::CollectStats(StatList& stats) const {
  stats.Add("commit_ns", counters_.commit_ns);
  stats.Add("batch_pages", counters_.batch_pages);
  stats.Add("appended_pages_total", counters_.appended_pages_total);
  stats.Add("already_pages_total", counters_.already_pages_total);
  stats.Add("superseded_pages_total", counters_.superseded_pages_total);
  stats.Add("refused_pages_total", counters_.refused_pages_total);
  stats.Add("cleaned_pages_total", counters_.cleaned_pages_total);
  stats.Add("cleaned_segments_total", counters_.cleaned_segments_total);
  stats.Add("sealed_segments_total", counters_.sealed_segments_total);
  stats.Add("fences_total", counters_.fences_total);
  stats.Add("trims_total", counters_.trims_total);
  stats.Add("ended_spaces_total", counters_.ended_spaces_total);
  stats.Add("marks_total", counters_.marks_total);
  stats.Add("exhausted_total", counters_.exhausted_total);
  stats.Add("write_errors_total", counters_.write_errors_total);
  stats.Add("bytes_written_total", counters_.bytes_written_total);
  stats.Add("payload_bytes_total", counters_.payload_bytes_total);
  stats.Add("queued_bytes", counters_.queued_bytes);
  stats.Add("read_ns", counters_.read_ns);
  stats.Add("read_pages_total", counters_.read_pages_total);
  stats.Add("read_errors_total", counters_.read_errors_total);
  stats.Add("bad_pages_total", counters_.bad_pages_total);
  stats.Add("bad_pages", counters_.bad_pages);
  stats.Add("scrubbed_pages_total", counters_.scrubbed_pages_total);
  stats.Add("scrub_passes_total", counters_.scrub_passes_total);
  stats.Add("suspect_spaces", counters_.suspect_spaces);
  stats.Add("start_ns", counters_.start_ns);
  segments_.CollectStats(stats);
}

}  // namespace ashlar::snode
