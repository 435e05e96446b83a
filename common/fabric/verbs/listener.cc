#include "common/fabric/verbs/listener.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/fabric/verbs/address.h"
#include "common/fabric/verbs/parts.h"

namespace ashlar::fabric::verbs {
namespace {

constexpr int kBacklog = 64;

class VerbsPendingPeer final : public PendingPeer {
 public:
  VerbsPendingPeer(std::shared_ptr<DeviceContext> device, Owned<rdma_cm_id> id, ReadLimits limits, std::vector<std::byte> hello)
      : device_(std::move(device)), id_(std::move(id)), limits_(limits), address_(Print(::rdma_get_peer_addr(id_.get()))), hello_(std::move(hello)) {}
  ~VerbsPendingPeer() override {
    if (id_ != nullptr) ::rdma_reject(id_.get(), nullptr, 0);
  }
  std::span<const std::byte> hello() const override { return hello_; }
  std::string address() const override { return address_; }
  absl::StatusOr<std::unique_ptr<Endpoint>> Accept(Domain& domain, CompletionQueue& queue, const EndpointOptions& options,
                                                   std::span<const std::byte> hello_ack) override {
    if (id_ == nullptr) return absl::FailedPreconditionError("fabric: this peer was accepted already");
    ASHLAR_ASSIGN_OR_RETURN(const VerbsEndpoint::Parts parts, MakeParts(device_, domain, queue, options, hello_ack, address_));
    return VerbsEndpoint::Accepted(parts, std::move(id_), limits_, hello_, hello_ack);
  }

 private:
  std::shared_ptr<DeviceContext> device_;
  Owned<rdma_cm_id> id_;  // nullptr: accepted
  const ReadLimits limits_;
  const std::string address_;
  const std::vector<std::byte> hello_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<VerbsListener>> VerbsListener::Create(std::shared_ptr<DeviceContext> device, std::string_view address) {
  ASHLAR_ASSIGN_OR_RETURN(SocketAddress where, ParseSocketAddress(address));
  std::unique_ptr<VerbsListener> listener(new VerbsListener);
  listener->device_ = std::move(device);
  listener->channel_.reset(::rdma_create_event_channel());
  if (listener->channel_ == nullptr) return ErrnoStatus(errno, "fabric: rdma_cm event channel");
  ::fcntl(listener->channel_->fd, F_SETFL, ::fcntl(listener->channel_->fd, F_GETFL) | O_NONBLOCK);
  rdma_cm_id* id = nullptr;
  if (::rdma_create_id(listener->channel_.get(), &id, nullptr, RDMA_PS_TCP) != 0) return ErrnoStatus(errno, "fabric: rdma_create_id");
  listener->id_.reset(id);
  if (::rdma_bind_addr(id, where.get()) != 0 || ::rdma_listen(id, kBacklog) != 0) {
    return ErrnoStatus(errno, absl::StrCat("fabric: listen with RDMA on ", std::string(address)));
  }
  if (id->verbs != nullptr && id->verbs != listener->device_->context) {
    return absl::InvalidArgumentError(absl::StrCat("fabric: ", std::string(address), " belongs to another RDMA device than ", listener->device_->name));
  }
  listener->address_ = Print(::rdma_get_local_addr(id));
  return listener;
}

std::unique_ptr<PendingPeer> VerbsListener::Accept() {
  rdma_cm_event* event = nullptr;
  while (::rdma_get_cm_event(channel_.get(), &event) == 0) {
    // Others are of requests that wait for their Accept, which will find out by itself.
    if (event->event != RDMA_CM_EVENT_CONNECT_REQUEST) {
      ::rdma_ack_cm_event(event);
      continue;
    }
    Owned<rdma_cm_id> id(event->id);
    const rdma_conn_param& asked = event->param.conn;
    const ReadLimits limits{.as_target = asked.responder_resources, .as_initiator = asked.initiator_depth};
    const auto* bytes = static_cast<const std::byte*>(asked.private_data);
    const std::size_t size = bytes == nullptr ? 0 : std::min<std::size_t>(asked.private_data_len, kMaxHelloBytes);
    std::vector<std::byte> hello(bytes, bytes + size);
    ::rdma_ack_cm_event(event);
    return std::make_unique<VerbsPendingPeer>(device_, std::move(id), limits, std::move(hello));
  }
  return nullptr;
}

}  // namespace ashlar::fabric::verbs
