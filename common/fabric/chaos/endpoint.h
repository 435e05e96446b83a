// An endpoint whose posts are lost, late, doubled, cut short or damaged.
//
// Threads: one at a time.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <vector>

#include "common/fabric/chaos/fault_plan.h"
#include "common/fabric/chaos/queue.h"
#include "common/fabric/contract.h"

namespace ashlar::fabric::chaos {

class ChaosEndpoint final : public Endpoint {
 public:
  ChaosEndpoint(std::unique_ptr<Endpoint> inner, ChaosQueue& queue, Domain& domain, FaultPlan& plan);
  ~ChaosEndpoint() override;

  EndpointId id() const override { return inner_->id(); }
  absl::Status Post(std::span<const WorkRequest> batch) override;
  absl::Status Receive(std::span<const WorkRequest> buffers) override { return inner_->Receive(buffers); }
  absl::StatusOr<RemoteWindow> Grant(Slice slice, Access access) override;
  absl::Status Revoke(RemoteWindow window, WrId wr_id) override { return inner_->Revoke(window, wr_id); }
  void Fail(absl::Status reason) override;
  EndpointState state() const override { return inner_->state(); }
  absl::Status reason() const override { return inner_->reason(); }
  std::size_t outstanding() const override;
  std::span<const std::byte> peer_hello() const override { return inner_->peer_hello(); }

  // By the queue.
  void OnPoll();
  bool holds() const { return !held_.empty(); }
  // What its completions have become: kFlushed for every success behind a made-up failure, nothing at all when it is silent.
  bool made_to_fail() const { return made_to_fail_; }
  bool silent() const { return silent_; }
  void MakeFail(const absl::Status& reason);
  void FallSilent();

 private:
  // A batch with its slices, copied: the caller's spans end with Post.
  struct Batch {
    std::vector<WorkRequest> requests;
    std::vector<std::vector<Slice>> slices;  // [requests]
    std::uint64_t due_poll = 0;
  };
  static Batch Copy(std::span<const WorkRequest> batch);
  static std::span<const WorkRequest> Bind(Batch& batch);
  absl::Status Send(Batch& batch);
  void FlipBit(Batch& batch);
  static void Truncate(Batch& batch);
  absl::Status PostTwice(Batch& batch);

  static constexpr std::size_t kScratchBytes = 8192;
  static constexpr std::size_t kScratches = 64;  // damaged copies; each is used once, so none changes under the wire

  std::unique_ptr<Endpoint> inner_;
  ChaosQueue& queue_;
  FaultPlan& plan_;
  std::vector<std::byte> scratch_;
  std::unique_ptr<Region> scratch_region_;
  std::size_t scratches_used_ = 0;
  std::deque<Batch> held_;
  std::uint64_t polls_ = 0;
  bool made_to_fail_ = false;
  bool silent_ = false;
};

}  // namespace ashlar::fabric::chaos
