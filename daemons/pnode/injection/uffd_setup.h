// The pnode's part of a new program's userfaultfd: the API handshake and the registration of staging. It needs
// CAP_SYS_PTRACE for the FORK event.
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace ashlar::pnode {

// MOVE, FORK, REMAP, REMOVE, UNMAP events and thread ids. FailedPrecondition names what is missing. Then `fd` reports
// faults of what is registered with it, is O_NONBLOCK, and staging takes MOVEs.
absl::Status SetUpUffd(int fd, std::uint64_t staging_address, std::uint32_t staging_pages);

}  // namespace ashlar::pnode
