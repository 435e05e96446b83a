// The tcp fabric: kernel sockets, any machine. One device serves all addresses of the host.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "common/fabric/contract.h"
#include "common/fabric/counters.h"
#include "common/fabric/endpoint.h"

namespace ashlar::fabric {

std::unique_ptr<Device> OpenTcpDevice();

namespace tcp {

enum class CarrierKind : std::uint8_t { kSocket, kShm };

// Of the endpoint that `queue`, a TcpQueue, is to get; with a window base that no other connection has.
absl::StatusOr<CheckedEndpoint::Setup> MakeSetup(Domain& domain, CompletionQueue& queue, const EndpointOptions& options,
                                                 std::span<const std::byte> hello, CarrierKind kind);
// What a Device does; also for the device that knows shared memory besides (shm/device.h).
absl::StatusOr<std::unique_ptr<Listener>> ListenTcp(std::string_view address, std::shared_ptr<FabricStats> stats);
absl::StatusOr<std::unique_ptr<Endpoint>> ConnectTcp(std::string_view address, Domain& domain, CompletionQueue& queue,
                                                     const EndpointOptions& options, std::span<const std::byte> hello,
                                                     std::uint64_t connect_timeout_ns);

}  // namespace tcp

}  // namespace ashlar::fabric
