#include "common/fabric/tcp/device.h"

#include <sys/random.h>

#include <cerrno>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/fabric/region.h"
#include "common/fabric/tcp/endpoint.h"
#include "common/fabric/tcp/listener.h"
#include "common/fabric/tcp/socket.h"

namespace ashlar::fabric {
namespace tcp {
namespace {

// 50 random bits on a page boundary, below 2^62: a window of an earlier connection, or of another one, never fits.
absl::StatusOr<std::uint64_t> RandomWindowBase() {
  std::uint64_t random = 0;
  if (::getrandom(&random, sizeof(random), 0) != sizeof(random)) return ErrnoStatus(errno, "fabric: getrandom");
  return (random >> 2) & ~std::uint64_t{0xFFF};
}

class TcpDevice final : public Device {
 public:
  std::string_view backend() const override { return "tcp"; }
  const Caps& caps() const override { return kCaps; }
  absl::StatusOr<std::unique_ptr<Domain>> OpenDomain() override { return std::make_unique<PlainDomain>(); }
  absl::StatusOr<std::unique_ptr<CompletionQueue>> OpenQueue(int depth) override { return TcpQueue::Create(depth, stats_); }
  absl::StatusOr<std::unique_ptr<Listener>> Listen(std::string_view address) override { return ListenTcp(address, stats_); }
  absl::StatusOr<std::unique_ptr<Endpoint>> Connect(std::string_view address, Domain& domain, CompletionQueue& queue,
                                                    const EndpointOptions& options, std::span<const std::byte> hello,
                                                    std::uint64_t connect_timeout_ns) override {
    return ConnectTcp(address, domain, queue, options, hello, connect_timeout_ns);
  }
  void CollectStats(StatList& stats) const override { stats_->CollectStats(backend(), stats); }

 private:
  const std::shared_ptr<FabricStats> stats_ = std::make_shared<FabricStats>();
};

}  // namespace

absl::StatusOr<CheckedEndpoint::Setup> MakeSetup(Domain& domain, CompletionQueue& queue, const EndpointOptions& options,
                                                 std::span<const std::byte> hello, CarrierKind kind) {
  auto* tcp_queue = dynamic_cast<TcpQueue*>(&queue);
  if (tcp_queue == nullptr) return absl::InvalidArgumentError("fabric: the queue belongs to another backend");
  ASHLAR_ASSIGN_OR_RETURN(const std::uint64_t window_base, RandomWindowBase());
  CheckedEndpoint::Setup setup{
      .caps = &kCaps, .domain = &domain, .queue = tcp_queue, .options = options, .window_base = window_base,
      .counters = kind == CarrierKind::kShm ? &tcp_queue->shm_counters() : nullptr};
  ASHLAR_RETURN_IF_ERROR(CheckedEndpoint::CheckSetup(setup, hello));
  return setup;
}

absl::StatusOr<std::unique_ptr<Listener>> ListenTcp(std::string_view address, std::shared_ptr<FabricStats> stats) {
  constexpr Doorkeeper kDoorkeeper{
      .check = [](int) { return absl::OkStatus(); },
      .name = PeerAddress,
      .carrier = [](UniqueFd fd, std::uint64_t silence_ns) -> absl::StatusOr<std::unique_ptr<Carrier>> {
        TuneConnection(fd.get(), silence_ns);
        return MakeSocketCarrier(std::move(fd));
      },
      .kind = CarrierKind::kSocket,
  };
  ASHLAR_ASSIGN_OR_RETURN(UniqueFd socket, ListenOn(address));
  std::string bound = LocalAddress(socket.get());
  return TcpListener::Create(std::move(socket), std::move(bound), kDoorkeeper, std::move(stats));
}

absl::StatusOr<std::unique_ptr<Endpoint>> ConnectTcp(std::string_view address, Domain& domain, CompletionQueue& queue,
                                                     const EndpointOptions& options, std::span<const std::byte> hello,
                                                     std::uint64_t connect_timeout_ns) {
  ASHLAR_ASSIGN_OR_RETURN(const CheckedEndpoint::Setup setup, MakeSetup(domain, queue, options, hello, CarrierKind::kSocket));
  TcpEndpoint::Dial dial{.address = std::string(address), .hello = hello, .deadline_ns = MonotonicNs() + connect_timeout_ns};
  ASHLAR_ASSIGN_OR_RETURN(UniqueFd fd, StartConnect(address, &dial.connect_error));
  return TcpEndpoint::Connecting(setup, static_cast<TcpQueue&>(queue), MakeSocketCarrier(std::move(fd)), dial);
}

}  // namespace tcp

std::unique_ptr<Device> OpenTcpDevice() { return std::make_unique<tcp::TcpDevice>(); }

}  // namespace ashlar::fabric
