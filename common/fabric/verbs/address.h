// Numeric addresses, as in the tcp fabric: "10.0.0.1:7501", "[fd00::1]:7501".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/fabric/verbs/context.h"

namespace ashlar::fabric::verbs {

absl::StatusOr<SocketAddress> ParseSocketAddress(std::string_view text);
std::string Print(const sockaddr* address);
SocketAddress WithPort(const SocketAddress& address, std::uint16_t port);
// A GID of RoCE v2 is an IP address, IPv4 as ::ffff:a.b.c.d; port 0. InvalidArgument: it is a link-layer one.
absl::StatusOr<SocketAddress> AddressOfGid(const ibv_gid& gid);
ibv_gid GidOfAddress(const SocketAddress& address);

}  // namespace ashlar::fabric::verbs
