// The fabric of a host: shared memory between processes of this host (addresses "shm:…"), kernel sockets to all others
// ("127.0.0.1:7501"), in one device, so that one shard serves peers of both kinds. Which of the two a link takes is decided
// by whoever names the address; see "Which fabric" in common/control/README.md.
#pragma once

#include <memory>

#include "common/fabric/contract.h"

namespace ashlar::fabric {

std::unique_ptr<Device> OpenHostDevice();

}  // namespace ashlar::fabric
