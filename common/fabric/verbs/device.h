// The verbs fabric: an RDMA device, InfiniBand or RoCE or soft RoCE. rdma_cm finds device, port and GID by our address on
// the data network; what the options name besides must agree with it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "common/fabric/contract.h"

namespace ashlar::fabric {

struct VerbsOptions {
  std::string address;      // ours on the data network, "10.0.0.1:7501"; the port does not matter
  std::string device;       // "mlx5_0"; empty: whichever has the address
  std::uint8_t port = 0;    // of the device; 0: as the address says
  int gid_index = -1;       // connect from the address of this GID instead; -1: from `address`
  bool native_imm = true;   // false: send immediates in messages of their own, as devices without WRITE_WITH_IMM need
};
// NotFound: no RDMA device has the address; it names those there are. Unimplemented: the device lacks what lending memory
// needs. In a build without rdma-core: Unimplemented always.
absl::StatusOr<std::unique_ptr<Device>> OpenVerbsDevice(const VerbsOptions& options);

// The memory a process is about to register against what it may lock; the message names what to add.
absl::Status CheckLockedMemory(std::uint64_t needed_bytes);

}  // namespace ashlar::fabric
