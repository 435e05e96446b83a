// The completion queue every backend of ours derives from: a fixed ring of completions, and the endpoints that may put
// some in. A backend adds how bytes make progress and what its event fd is.
//
// Depth: an endpoint joins only if its send and receive depth fit beside those of all others and beside completions left
// by endpoints that are gone. Each ledger keeps a place until its completion is polled, so the ring can't overflow.
//
// Threads: one at a time, except the counters, which any thread reads. The queue outlives its endpoints.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "common/fabric/contract.h"
#include "common/fabric/counters.h"
#include "common/fabric/ledger.h"

namespace ashlar::fabric {

class CheckedEndpoint;

class QueueBase : public CompletionQueue {
 public:
  ~QueueBase() override;

  int Poll(std::span<Completion> out) final;
  absl::Status Arm() final;

  // ResourceExhausted: the ring would be too small for one more endpoint of that depth.
  absl::Status CheckRoom(std::size_t depth) const;
  void Join(std::size_t depth);
  void Leave(const CheckedEndpoint& endpoint, std::size_t depth);
  void Deliver(const Completion& completion, CheckedEndpoint& endpoint, Ledger::Side side);

  FabricCounters& counters() { return counters_; }

 protected:
  QueueBase(int depth, std::shared_ptr<FabricStats> stats);

  // Moves bytes and delivers what that completes. Never blocks.
  virtual void Progress() = 0;
  // Arm was called: event_fd() must become readable by whatever would make Progress deliver something, and for timers.
  virtual void PrepareSleep() = 0;
  // Makes event_fd() readable until the next Progress: there are completions in the ring.
  virtual void Wake() = 0;

  bool armed() const { return armed_; }
  bool any() const { return begin_ != end_; }  // completions to hand out
  bool after_arm() const { return after_arm_; }  // in Progress: is this the Poll between Arm and sleep?

 private:
  struct Item {
    Completion completion;
    CheckedEndpoint* endpoint = nullptr;  // nullptr: gone since
    Ledger::Side side = Ledger::Side::kSend;
  };
  Item& At(std::size_t position) { return ring_[position % ring_.size()]; }

  std::shared_ptr<FabricStats> stats_;
  FabricCounters counters_;
  std::vector<Item> ring_;
  std::size_t begin_ = 0;  // positions only grow
  std::size_t end_ = 0;
  std::size_t reserved_ = 0;  // sum of the depths of the endpoints that joined
  std::size_t orphans_ = 0;   // items whose endpoint is gone
  bool armed_ = false;
  bool after_arm_ = false;
};

}  // namespace ashlar::fabric
