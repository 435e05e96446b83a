// The completions of one queue on their way to the caller, and who of the endpoints is dead already.
//
// Threads: one at a time.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/unique_fd.h"
#include "common/fabric/chaos/fault_plan.h"
#include "common/fabric/contract.h"

namespace ashlar::fabric::chaos {

class ChaosEndpoint;

class ChaosQueue final : public CompletionQueue {
 public:
  static absl::StatusOr<std::unique_ptr<ChaosQueue>> Create(std::unique_ptr<CompletionQueue> inner, FaultPlan& plan);

  int Poll(std::span<Completion> out) override;
  absl::Status Arm() override;
  int event_fd() const override { return epoll_.get(); }

  CompletionQueue& inner() { return *inner_; }
  void Join(ChaosEndpoint& endpoint);
  void Leave(ChaosEndpoint& endpoint);

  // wr_ids with this bit are the chaos' own: their completions are nobody's business.
  static constexpr std::uint64_t kOwnBit = std::uint64_t{1} << 61;

 private:
  struct Held {
    Completion completion;
    std::uint64_t due_poll = 0;
  };
  ChaosQueue(std::unique_ptr<CompletionQueue> inner, FaultPlan& plan) : inner_(std::move(inner)), plan_(plan) {}
  void Take(const Completion& completion);
  Completion Damage(const Succeeded& succeeded, ChaosEndpoint* endpoint);
  ChaosEndpoint* Find(EndpointId id);

  std::unique_ptr<CompletionQueue> inner_;
  FaultPlan& plan_;
  UniqueFd epoll_;
  UniqueFd wake_;  // readable while completions or posts are held and the caller may sleep
  std::uint64_t polls_ = 0;
  std::uint64_t not_before_ = 0;  // the poll at which the newest held completion may go
  std::deque<Held> held_;
  absl::flat_hash_map<EndpointId, ChaosEndpoint*> endpoints_;
};

}  // namespace ashlar::fabric::chaos
