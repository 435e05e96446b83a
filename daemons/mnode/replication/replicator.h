// Keeps what the home holds on the disk of its snode: sends the pages of write-backs as they come, brings frames that are
// behind up to date, and forwards trims and the end of spaces until the snode confirmed them.
//
// Order: appends of one space may be under way together (versions make their order irrelevant); a trim goes once every
// append given before it has ended; the end of a space goes once everything of it has ended.
// Bounds: appends under way per link, waiting batches (their buffers), trims per space.
//
// Threads: only the shard's, except CollectStats.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/fit/connection.h"
#include "common/fit/messages.h"
#include "common/fit/shard.h"
#include "common/telemetry/histogram.h"
#include "common/telemetry/log.h"
#include "common/telemetry/stat_list.h"
#include "daemons/mnode/pool/space_table.h"
#include "daemons/mnode/replication/batch.h"
#include "daemons/mnode/replication/slot.h"

namespace ashlar::mnode {

struct ReplicatorOptions {
  std::string snode;                    // for logs and stats: "s1"
  std::uint32_t max_appends = 6;        // under way on the link: FIT's bulk slots less the two kept free
  std::uint32_t max_catch_up = 2;       // of these, those that only bring old frames up to date
  std::uint32_t max_trims = 16384;      // waiting per space; then AddTrims refuses
  std::uint64_t control_timeout_ns = 5'000'000'000;   // of OpenSpace, Trim, DestroySpace; they are repeated
  std::uint64_t catch_up_timeout_ns = 10'000'000'000;
};

class Replicator : public fit::ConnectionEvents {
 public:
  // `spaces` and `buffers` outlive it.
  Replicator(fit::Shard& shard, SpaceTable& spaces, BatchBuffers& buffers, const ReplicatorOptions& options,
             const Clock& clock = Clock::Real());
  ~Replicator() override;

  // Once: the link to the snode, made with this object as its events.
  void Attach(std::unique_ptr<fit::Connection> connection);

  // The space shall have an open slot at the snode from now on; again, when its epoch rose.
  void AddSpace(const Space& space);
  // Takes a batch of a space that was added. Its owner is told once, at `deadline` plus a tick (20 ms) at the latest;
  // the buffer returns to `buffers` by itself.
  void Append(Batch& batch, fit::Deadline deadline, BatchOwner& owner);
  // Gives back a batch that was taken and not appended.
  void Drop(Batch& batch) { buffers_.Return(batch); }
  // False: the bound is reached, none was taken.
  bool AddTrims(SpaceId space, std::span<const fit::wire::TrimRange> ranges);
  // The space ends at the snode too, also one that was never added (an mnode that restarted forgot it). Its waiting
  // batches end unavailable, its trims are dropped. `done(true)` when the snode confirmed, `done(false)` at the deadline:
  // trying goes on.
  void EndSpace(SpaceId space, Epoch epoch, fit::Deadline deadline, absl::AnyInvocable<void(bool confirmed)> done);

  // This home lets go of the space, the snode keeps it (its pnode stayed away). Its waiting batches end unavailable.
  void LeaveSpace(SpaceId space);

  bool link_up() const { return link_up_.value() != 0; }
  std::uint64_t down_since_ns() const { return down_since_ns_; }  // while the link is not up
  fit::Connection* connection() { return connection_.get(); }     // for reads of what is kept; nullptr before Attach
  fit::LinkReport link_report() const { return connection_->report(); }  // any thread, after Attach
  SlotState StateOf(SpaceId space) const;  // kEmpty if it was never added
  void CollectStats(StatList& stats) const;  // any thread

  void OnUp(Incarnation server, std::uint64_t connection_epoch) override;
  void OnDown(const absl::Status& reason) override;

 private:
  friend class Batch;
  struct Slot;
  // The one OpenSpace, Trim or DestroySpace a slot may have under way.
  struct Control final : fit::PendingCall {
    void OnDone(const fit::CallResult& result) override;
    void OnReleased() override;
    Replicator* replicator = nullptr;
    Slot* slot = nullptr;
    fit::wire::Opcode opcode{};
    Epoch epoch;            // under which it was sent
    bool busy = false;
    bool finished = false;  // the space's end was confirmed: the slot goes with this call
    std::size_t trims = 0;  // carried
  };
  struct PendingTrim {
    fit::wire::TrimRange range;
    std::uint64_t after_ticket = 0;  // the last append given before it
  };
  struct EndWaiter {
    fit::Deadline deadline;
    absl::AnyInvocable<void(bool)> done;
  };
  struct Slot {
    SpaceId space;
    Epoch epoch;
    SpaceOwner owner;
    SlotState state = SlotState::kEmpty;
    bool asked = false;  // OpenSpace was sent once: the snode may know the space
    bool ending = false;
    bool leaving = false;
    bool queued = false;  // stands in ready_
    std::uint64_t era = 0;
    std::deque<Batch*> waiting;
    std::vector<std::uint64_t> tickets;  // of appends that have not ended, rising
    std::uint32_t appends = 0;           // under way
    std::deque<PendingTrim> trims;
    std::vector<EndWaiter> end_waiters;
    Control control;
    std::uint64_t retry_at_ns = 0;
    std::uint64_t back_off_ns = 0;
    PageNumber catch_up_cursor;
  };

  Slot& SlotOf(SpaceId space, Epoch epoch, SpaceOwner owner);
  SlotFacts FactsOf(const Slot& slot) const;
  void Apply(Slot& slot, SlotEvent event);
  void Fenced(Slot& slot, Epoch sent);
  void Touch(Slot& slot);
  void DropWaiting(Slot& slot);
  void Pump();
  bool DoStep(Slot& slot, Step step);  // false: it could not be started now
  bool StartControl(Slot& slot, fit::wire::Opcode opcode, std::span<const std::byte> payload);
  bool SendOpen(Slot& slot);
  bool SendTrims(Slot& slot);
  bool SendEnd(Slot& slot);
  bool SendBatch(Slot& slot, Batch& batch);
  bool CatchUp(Slot& slot);
  void ControlDone(Slot& slot, const fit::CallResult& result);
  void AppendDone(Batch& batch, const fit::CallResult& result);
  void AppendReleased(Batch& batch);
  AppendOutcome Judge(Slot& slot, Batch& batch, const fit::CallResult& result);
  void EndBatch(Slot& slot, Batch& batch, const AppendOutcome& outcome);
  void BackOff(Slot& slot, std::uint64_t at_least_ns);
  void SettleBehind(Slot& slot);
  void Erase(Slot& slot);
  void ArmTick();
  void Tick();
  std::uint64_t Now() const { return clock_.NowNs(); }

  fit::Shard& shard_;
  SpaceTable& spaces_;
  BatchBuffers& buffers_;
  const ReplicatorOptions options_;
  const Clock& clock_;
  Incarnation snode_incarnation_;
  std::uint64_t down_since_ns_;
  std::uint64_t last_ticket_ = 0;
  std::uint32_t appends_ = 0;    // under way on the link
  std::uint32_t catch_ups_ = 0;  // of these
  absl::flat_hash_map<SpaceId, std::unique_ptr<Slot>> slots_;
  std::deque<SpaceId> ready_;  // slots that may have a step to do
  bool pumping_ = false;
  bool tick_armed_ = false;
  log::RateLimit failures_log_{5'000'000'000};

  Counter link_up_, link_losses_, append_batches_, append_pages_, append_failures_, catch_up_pages_, waiting_batches_,
      trims_waiting_, slots_open_, slot_count_, fenced_;
  Histogram append_ns_;
  std::vector<std::uint64_t> append_started_ns_;  // [buffer count]
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<fit::Connection> connection_;  // last: its destruction ends every call, into the members above
};

}  // namespace ashlar::mnode
