// How much memory this process may pin for an RDMA device, looked at before the pool is registered: the kernel's own
// answer would be a bare "cannot allocate memory".
#pragma once

#include <cstdint>

#include "absl/status/status.h"

namespace ashlar::fabric::verbs {

struct Memlock {
  std::uint64_t limit_bytes = 0;  // RLIMIT_MEMLOCK; all ones: none
  bool exempt = false;            // CAP_IPC_LOCK
};
Memlock ReadMemlock();

// ResourceExhausted if `needed_bytes` can't be pinned, with the lines to add.
absl::Status CheckMemlock(const Memlock& memlock, std::uint64_t needed_bytes);

}  // namespace ashlar::fabric::verbs
