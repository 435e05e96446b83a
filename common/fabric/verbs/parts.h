// What an endpoint of the verbs fabric is made from, checked: for the device, which connects, and the listener.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "common/fabric/verbs/endpoint.h"

namespace ashlar::fabric::verbs {

absl::StatusOr<VerbsEndpoint::Parts> MakeParts(const std::shared_ptr<DeviceContext>& device, Domain& domain, CompletionQueue& queue,
                                               const EndpointOptions& options, std::span<const std::byte> hello, std::string peer_name);

}  // namespace ashlar::fabric::verbs
