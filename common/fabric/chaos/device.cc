#include "common/fabric/chaos/device.h"

#include <string>
#include <utility>

#include "common/base/status.h"
#include "common/fabric/chaos/endpoint.h"
#include "common/fabric/chaos/queue.h"

namespace ashlar::fabric {
namespace chaos {
namespace {

// The queue inside, with the place an endpoint takes; nullptr: of another backend.
absl::StatusOr<ChaosQueue*> Unwrap(CompletionQueue& queue, FaultPlan& plan) {
  auto* ours = dynamic_cast<ChaosQueue*>(&queue);
  if (ours == nullptr) return absl::InvalidArgumentError("fabric: the queue belongs to another backend");
  if (plan.Fires(FaultPoint::kQueueOverrun)) return absl::ResourceExhaustedError("injected: queue.overrun");
  return ours;
}

EndpointOptions Options(const EndpointOptions& options, FaultPlan& plan) {
  EndpointOptions result = options;
  if (plan.Fires(FaultPoint::kStaleEpoch)) result.epoch_seed ^= 1;
  return result;
}

class ChaosPendingPeer final : public PendingPeer {
 public:
  ChaosPendingPeer(std::unique_ptr<PendingPeer> inner, FaultPlan& plan) : inner_(std::move(inner)), plan_(plan) {}
  std::span<const std::byte> hello() const override { return inner_->hello(); }
  std::string address() const override { return inner_->address(); }
  absl::StatusOr<std::unique_ptr<Endpoint>> Accept(Domain& domain, CompletionQueue& queue, const EndpointOptions& options,
                                                   std::span<const std::byte> hello_ack) override {
    ASHLAR_ASSIGN_OR_RETURN(ChaosQueue * ours, Unwrap(queue, plan_));
    ASHLAR_ASSIGN_OR_RETURN(auto endpoint, inner_->Accept(domain, ours->inner(), Options(options, plan_), hello_ack));
    return std::make_unique<ChaosEndpoint>(std::move(endpoint), *ours, domain, plan_);
  }

 private:
  std::unique_ptr<PendingPeer> inner_;
  FaultPlan& plan_;
};

class ChaosListener final : public Listener {
 public:
  ChaosListener(std::unique_ptr<Listener> inner, FaultPlan& plan) : inner_(std::move(inner)), plan_(plan) {}
  std::string address() const override { return inner_->address(); }
  int event_fd() const override { return inner_->event_fd(); }
  std::unique_ptr<PendingPeer> Accept() override {
    std::unique_ptr<PendingPeer> peer = inner_->Accept();
    if (peer == nullptr) return nullptr;
    return std::make_unique<ChaosPendingPeer>(std::move(peer), plan_);
  }

 private:
  std::unique_ptr<Listener> inner_;
  FaultPlan& plan_;
};

class ChaosDevice final : public Device {
 public:
  ChaosDevice(std::unique_ptr<Device> inner, FaultPlan& plan)
      : inner_(std::move(inner)), plan_(plan), backend_("chaos over " + std::string(inner_->backend())) {}
  std::string_view backend() const override { return backend_; }
  const Caps& caps() const override { return inner_->caps(); }
  absl::StatusOr<std::unique_ptr<Domain>> OpenDomain() override { return inner_->OpenDomain(); }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> OpenQueue(int depth) override {
    ASHLAR_ASSIGN_OR_RETURN(auto queue, inner_->OpenQueue(depth));
    return ChaosQueue::Create(std::move(queue), plan_);
  }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(std::string_view address) override {
    ASHLAR_ASSIGN_OR_RETURN(auto listener, inner_->Listen(address));
    return std::make_unique<ChaosListener>(std::move(listener), plan_);
  }
  absl::StatusOr<std::unique_ptr<Endpoint>> Connect(std::string_view address, Domain& domain, CompletionQueue& queue,
                                                    const EndpointOptions& options, std::span<const std::byte> hello,
                                                    std::uint64_t connect_timeout_ns) override {
    ASHLAR_ASSIGN_OR_RETURN(ChaosQueue * ours, Unwrap(queue, plan_));
    ASHLAR_ASSIGN_OR_RETURN(auto endpoint, inner_->Connect(address, domain, ours->inner(), Options(options, plan_), hello, connect_timeout_ns));
    return std::make_unique<ChaosEndpoint>(std::move(endpoint), *ours, domain, plan_);
  }
  void CollectStats(StatList& stats) const override { inner_->CollectStats(stats); }

 private:
  const std::unique_ptr<Device> inner_;
  FaultPlan& plan_;
  const std::string backend_;
};

}  // namespace
}  // namespace chaos

std::unique_ptr<Device> WrapInChaos(std::unique_ptr<Device> device, chaos::FaultPlan& plan) {
  return std::make_unique<chaos::ChaosDevice>(std::move(device), plan);
}

}  // namespace ashlar::fabric
