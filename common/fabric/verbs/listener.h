// Accepts connection requests of rdma_cm. A request carries the hello, so nobody waits half-way in: a stranger has a
// pending request in the kernel, 64 of them at most.
//
// Threads: one at a time.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/fabric/verbs/context.h"
#include "common/fabric/verbs/objects.h"

namespace ashlar::fabric::verbs {

class VerbsListener final : public Listener {
 public:
  static absl::StatusOr<std::unique_ptr<VerbsListener>> Create(std::shared_ptr<DeviceContext> device, std::string_view address);

  std::string address() const override { return address_; }
  int event_fd() const override { return channel_->fd; }
  std::unique_ptr<PendingPeer> Accept() override;

 private:
  VerbsListener() = default;
  std::shared_ptr<DeviceContext> device_;
  std::string address_;
  Owned<rdma_event_channel> channel_;
  Owned<rdma_cm_id> id_;
};

}  // namespace ashlar::fabric::verbs
