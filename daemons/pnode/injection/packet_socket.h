// Packets with descriptors over a UNIX SOCK_SEQPACKET socket.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "daemons/pnode/injection/handoff_message.h"

namespace ashlar::pnode {

struct Packet {
  std::vector<std::byte> bytes;
  std::vector<UniqueFd> descriptors;  // close-on-exec
};

// One packet, whole or not at all. Unavailable: the peer is gone, or its buffer is full (the socket never blocks here).
absl::Status SendPacket(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors);

// The next packet. Unavailable: the peer hung up. DeadlineExceeded: none came in time. InvalidArgument: too long, or too
// many descriptors (those that came are closed).
absl::StatusOr<Packet> ReceivePacket(int socket, absl::Duration timeout);

template <typename Message>
absl::Status Send(int socket, const Message& message, std::span<const int> descriptors = {}) {
  return SendPacket(socket, std::as_bytes(std::span(&message, 1)), descriptors);
}

// A listening socket at `path`, mode 0660; a left-over socket that nobody answers on is replaced.
absl::StatusOr<UniqueFd> ListenAt(const std::string& path);
// NotFound or Unavailable when nobody answers there; PermissionDenied as such.
absl::StatusOr<UniqueFd> ConnectTo(const std::string& path);

}  // namespace ashlar::pnode
