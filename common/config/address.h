// "ip:port" of a TCP socket: "127.0.0.1:7401", "[::1]:7401". Names are not resolved here.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ashlar::config {

struct Address {
  std::string ip;          // in the one form inet_ntop gives; an IPv6 one without brackets
  std::uint16_t port = 0;  // never 0 in a checked topology
  bool is_loopback = false;

  std::string ToString() const;  // "ip:port", "[ip]:port"
  friend bool operator==(const Address&, const Address&) = default;
};

// InvalidArgument with words. 0.0.0.0 and :: are refused: others must be able to connect to what stands there.
absl::StatusOr<Address> ParseAddress(std::string_view text);

}  // namespace ashlar::config
