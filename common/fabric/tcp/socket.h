// Addresses and sockets of the tcp fabric. Numeric addresses only ("127.0.0.1:7501", "[::1]:0"): a name would block the
// data path on a resolver. Every socket is non-blocking and close-on-exec.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace ashlar::fabric::tcp {

absl::StatusOr<UniqueFd> ListenOn(std::string_view address);

// The socket of a connection under way; writable when it ended either way, SocketError tells which. An error met at once is
// left in `*error` (an errno) with a socket that leads nowhere.
absl::StatusOr<UniqueFd> StartConnect(std::string_view address, int* error);

// nullptr-like (invalid) when nobody waits; `*error` is then an errno, EAGAIN in the good case.
UniqueFd AcceptOne(int listening_fd, int* error);

// No delay for small frames; bytes unacknowledged by the other kernel for `silence_ns` end the connection.
void TuneConnection(int fd, std::uint64_t silence_ns);

int SocketError(int fd);  // an errno; 0 = none
std::string LocalAddress(int fd);
std::string PeerAddress(int fd);

}  // namespace ashlar::fabric::tcp
