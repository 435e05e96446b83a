// The replica log of a snode: which version of which page is safe here, and nothing said to be safe before the disk has
// it.
//
// Calls return at once; each ends in its `done`, run by Poll, when all of it is durable or refused. Page bytes are
// borrowed until then, and if the log is destroyed first, until that. Calls that return an error took nothing, and
// their `done` never runs.
//
// Threads: only the one thread that calls Poll; CollectStats and capacity from any thread.
// Errors of Poll: DataLoss = the disk failed twice in a row; no `done` runs any more, the daemon exits with 74.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/telemetry/stat_list.h"
#include "daemons/snode/replica_log/capacity.h"
#include "daemons/snode/replica_log/cleaner.h"
#include "daemons/snode/replica_log/committer.h"
#include "daemons/snode/replica_log/intake.h"
#include "daemons/snode/replica_log/log_counters.h"
#include "daemons/snode/replica_log/page_index.h"
#include "daemons/snode/replica_log/page_reader.h"
#include "daemons/snode/replica_log/scrubber.h"
#include "daemons/snode/replica_log/store.h"

namespace ashlar::snode {

struct LogOptions {
  StoreOptions store;
  std::uint64_t queue_bytes = 32 << 20;  // appends that wait or are being written; above it: ResourceExhausted
  std::uint64_t scrub_period_ns = 0;     // every page held is read and verified once in it; 0 = never
};

struct PageAppend {
  SpaceId space;
  Epoch epoch;
  PageNumber page;
  Version version;
  std::uint64_t era = 0;
  std::uint32_t crc = 0;             // PageCrc32c
  const std::byte* bytes = nullptr;  // 4 KiB, aligned to 4 KiB; nullptr = a zero page
};

enum class Outcome : std::uint8_t {
  kTaken,         // durable
  kAlready,       // the same version was durable before: a resend
  kSuperseded,    // a higher version, or a trim, is durable: the bytes were dropped
  kStaleEpoch,    // lower than the space's epoch, or its owner is another; `epoch` tells the current one
  kFutureEpoch,   // higher than the space's epoch: open or fence first
  kStaleView,     // OpenSpace only: lower than the view known here
  kUnknownSpace,  // never opened here
  kEnded,         // the space has ended
  kBadCrc,        // the bytes are not those the checksum was made of: send them again
  kTwoVersions,   // this version is held with another checksum
};

struct AppendResult {
  Outcome outcome = Outcome::kUnknownSpace;
  Version stored_version;  // what is durable here now; 0 = none
  Epoch epoch;             // of the space, as accepted last
};

struct SpaceAnswer {
  Outcome outcome = Outcome::kUnknownSpace;
  Epoch epoch;
  std::uint64_t era = 0;  // highest seen of this space
  std::uint64_t view = 0;
  std::uint64_t durable_batch_seq = 0;
};

struct TrimRange {
  PageNumber first;
  std::uint64_t count = 0;  // 1 … 2^32 - 1
  Version upto;
  std::uint64_t era = 0;
};

class ReplicaLog {
 public:
  using AppendDone = absl::AnyInvocable<void(std::span<const AppendResult>)>;
  using SpaceDone = absl::AnyInvocable<void(const SpaceAnswer&)>;

  // Opens or makes the store, rebuilds the index and starts a fresh segment; waits for the disk. Errors: those of
  // OpenStore; DataLoss when what is on disk is not understood or an acknowledged batch is missing (exit 65).
  static absl::StatusOr<std::unique_ptr<ReplicaLog>> Open(LogOptions options, std::unique_ptr<LogDevice> device,
                                                          const Clock& clock = Clock::Real());
  ~ReplicaLog();

  // ResourceExhausted: the log is FULL or its queue is; try again later. InvalidArgument: bytes not aligned.
  absl::Status Append(std::span<const PageAppend> pages, AppendDone done);
  // Taken by a FULL log too. InvalidArgument: a number out of bounds.
  absl::Status OpenSpace(SpaceId space, const OpenRecord& record, SpaceDone done);
  absl::Status Fence(SpaceId space, Epoch epoch, NodeInstance owner, SpaceDone done);
  absl::Status Trim(SpaceId space, Epoch epoch, std::span<const TrimRange> ranges, SpaceDone done);
  absl::Status EndSpace(SpaceId space, Epoch epoch, SpaceDone done);

  // Takes what the disk finished, runs `done`s, cleans, forms batches. Call it after a turn's calls, when event_fd is
  // readable, and at NextDeadlineNs.
  absl::Status Poll();
  int event_fd() const { return device_->event_fd(); }
  // When Poll wants to be called even if nothing happens, in the clock's ns; 0 = at once.
  std::optional<std::uint64_t> NextDeadlineNs() const;

  // Whether a reader under `epoch` may see what is kept of `space`: kTaken, or why not. `epoch` of the answer: the
  // one in force.
  SpaceAnswer JudgeReader(SpaceId space, Epoch epoch) const;
  // Reads what is durable of at most PageReader::kMaxPages pages. ResourceExhausted: too many calls wait.
  absl::Status ReadPages(SpaceId space, std::span<const PageNumber> pages, PageReader::Done done);

  // At the start acknowledged batches were missing: pages of this space may be lost that nobody can name. Until its home
  // has compared everything it knows with what is kept here.
  bool IsSuspect(SpaceId space) const { return suspect_.contains(space); }
  void ClearSuspect(SpaceId space);
  std::uint64_t bad_pages() const { return counters_.bad_pages.value(); }  // any thread
  std::uint64_t suspect_spaces() const { return counters_.suspect_spaces.value(); }  // any thread

  // Waits for the disk. `out` gets the bytes of the version held, zeros for a zero page. NotFound; DataLoss: the bytes
  // do not match their checksum.
  absl::StatusOr<StoredPage> ReadPage(SpaceId space, PageNumber page, std::span<std::byte, kPageBytes> out);
  const SpaceRecord* FindSpace(SpaceId space) const { return index_.FindSpace(space); }
  const PageIndex& index() const { return index_; }
  CapacityState capacity() const;  // any thread, like the two below
  std::uint64_t live_bytes() const { return segments_.live_bytes(); }
  std::uint64_t usable_bytes() const { return segments_.usable_bytes(); }
  const Superblock& superblock() const { return superblock_; }
  // Nothing waits and nothing is being written.
  bool idle() const;

  void CollectStats(StatList& stats) const;

 private:
  ReplicaLog(LogOptions options, std::unique_ptr<LogDevice> device, const Clock& clock, Superblock superblock);
  absl::Status Start();
  absl::Status WaitIdle();

  SpaceAnswer Answer(SpaceId space, Outcome outcome) const;
  void AnswerNow(SpaceId space, Outcome outcome, SpaceDone done);
  absl::Status CheckOpen(SpaceId space, Epoch epoch, NodeInstance owner) const;
  absl::Status AcceptOpen(SpaceId space, Intake::Space now, OpenRecord record, SpaceDone done);
  absl::Status Control(SpaceId space, std::vector<PendingEntry> entries, const Intake::Space& now, SpaceDone done);
  void Count(const PageAppend& page, Outcome outcome);

  absl::Status ReapDevice();
  void ApplyBatch(CommittedBatch batch);
  void Decide(PendingEntry* pending, Outcome outcome, std::uint64_t batch_seq);
  void FinishCleaning();
  void RetireFailed();
  absl::Status StepCleaner();
  bool Blocked() const;
  absl::Status FormBatches();
  std::vector<PendingEntry> FormBatch();
  Outcome JudgeAtForming(PendingEntry* pending);
  absl::Status MarkIfIdle();
  void RunReady();

  const LogOptions options_;
  const Clock& clock_;
  Superblock superblock_;
  LogCounters counters_;
  std::unique_ptr<LogDevice> device_;
  SegmentTable segments_;
  PageIndex index_;
  Intake intake_;
  std::unique_ptr<Committer> committer_;
  std::unique_ptr<Cleaner> cleaner_;
  std::unique_ptr<PageReader> reader_;
  std::unique_ptr<Scrubber> scrubber_;
  absl::flat_hash_set<SpaceId> suspect_;
  std::deque<PendingEntry> appends_;
  std::deque<PendingEntry> controls_;
  std::vector<std::shared_ptr<Waiter>> ready_;  // decided in full, `done` not yet run
  std::vector<LogDevice::Completion> completions_;
  std::uint64_t next_ticket_ = 0;
  std::uint64_t last_commit_ns_ = 0;
  absl::Status failed_;
  CapacityState last_capacity_ = CapacityState::kOk;
};

}  // namespace ashlar::snode
