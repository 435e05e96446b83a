#include "common/fabric/shm/device.h"

#include <cerrno>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/fabric/region.h"
#include "common/fabric/shm/carrier.h"
#include "common/fabric/shm/socket.h"
#include "common/fabric/tcp/device.h"
#include "common/fabric/tcp/endpoint.h"
#include "common/fabric/tcp/listener.h"

namespace ashlar::fabric {
namespace shm {
namespace {

using tcp::TcpEndpoint;
using tcp::TcpListener;
using tcp::TcpQueue;

constexpr tcp::Doorkeeper kDoorkeeper{
    .check = CheckPeer,
    .name = PeerName,
    .carrier = [](UniqueFd fd, std::uint64_t) { return MakeListenerCarrier(std::move(fd)); },
    .kind = tcp::CarrierKind::kShm,
};

class HostDevice final : public Device {
 public:
  std::string_view backend() const override { return "shm"; }
  const Caps& caps() const override { return tcp::kCaps; }
  absl::StatusOr<std::unique_ptr<Domain>> OpenDomain() override { return std::make_unique<PlainDomain>(); }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> OpenQueue(int depth) override {
    return TcpQueue::Create(depth, tcp_stats_, shm_stats_);
  }

  absl::StatusOr<std::unique_ptr<Listener>> Listen(std::string_view address) override {
    if (!IsShmAddress(address)) return tcp::ListenTcp(address, tcp_stats_);
    std::string bound;
    ASHLAR_ASSIGN_OR_RETURN(UniqueFd socket, ListenOn(address, &bound));
    return TcpListener::Create(std::move(socket), std::move(bound), kDoorkeeper, shm_stats_);
  }

  absl::StatusOr<std::unique_ptr<Endpoint>> Connect(std::string_view address, Domain& domain, CompletionQueue& queue,
                                                    const EndpointOptions& options, std::span<const std::byte> hello,
                                                    std::uint64_t connect_timeout_ns) override {
    if (!IsShmAddress(address)) return tcp::ConnectTcp(address, domain, queue, options, hello, connect_timeout_ns);
    ASHLAR_ASSIGN_OR_RETURN(const CheckedEndpoint::Setup setup,
                            tcp::MakeSetup(domain, queue, options, hello, tcp::CarrierKind::kShm));
    TcpEndpoint::Dial dial{.address = std::string(address), .hello = hello, .deadline_ns = MonotonicNs() + connect_timeout_ns};
    ASHLAR_ASSIGN_OR_RETURN(UniqueFd fd, StartConnect(address, &dial.connect_error));
    return TcpEndpoint::Connecting(setup, static_cast<TcpQueue&>(queue), MakeConnectorCarrier(std::move(fd)), dial);
  }

  void CollectStats(StatList& stats) const override {
    shm_stats_->CollectStats("shm", stats);
    tcp_stats_->CollectStats("tcp", stats);
  }

 private:
  const std::shared_ptr<FabricStats> tcp_stats_ = std::make_shared<FabricStats>();
  const std::shared_ptr<FabricStats> shm_stats_ = std::make_shared<FabricStats>();
};

}  // namespace
}  // namespace shm

std::unique_ptr<Device> OpenHostDevice() { return std::make_unique<shm::HostDevice>(); }

}  // namespace ashlar::fabric
