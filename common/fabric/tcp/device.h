// The tcp fabric: kernel sockets, any machine. One device serves all addresses of the host.
#pragma once

#include <memory>
#include <span>

#include "absl/status/statusor.h"
#include "common/fabric/contract.h"
#include "common/fabric/endpoint.h"

namespace ashlar::fabric {

std::unique_ptr<Device> OpenTcpDevice();

namespace tcp {
// Of the endpoint that `queue`, a queue of the tcp fabric, is to get; with a window base that no other connection has.
absl::StatusOr<CheckedEndpoint::Setup> MakeSetup(Domain& domain, CompletionQueue& queue, const EndpointOptions& options,
                                                 std::span<const std::byte> hello);
}  // namespace tcp

}  // namespace ashlar::fabric
