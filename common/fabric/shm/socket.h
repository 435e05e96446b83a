// UNIX sockets of the shm fabric. An address is "shm:NAME", NAME being in the abstract namespace: gone with its last user,
// and seen only inside one network namespace, which is as far as "this host" reaches here.
//
// Trust: the kernel says who stands at the other end (SO_PEERCRED). Memory is shared with processes of the same user, and
// with root's, or by root's: whoever may do more to this process anyway. The token decides the rest, as on every fabric.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace ashlar::fabric::shm {

bool IsShmAddress(std::string_view address);

// "shm:" alone: a fresh name that nobody can guess. `*bound` gets the whole address.
absl::StatusOr<UniqueFd> ListenOn(std::string_view address, std::string* bound);
// As the sockets of tcp: an error met at once is left in `*error`.
absl::StatusOr<UniqueFd> StartConnect(std::string_view address, int* error);
absl::Status CheckPeer(int fd);
std::string PeerName(int fd);  // "shm:1234", the process

}  // namespace ashlar::fabric::shm
