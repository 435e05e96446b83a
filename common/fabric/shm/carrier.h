// The stream of frames through memory that two processes of one host share: two rings, and a UNIX socket for everything
// that is not bytes. The socket carries the connector's HELLO, then the descriptor of the memory; after that a byte on it
// only wakes a peer that sleeps, and its end is the end of the peer, told at once by the kernel whatever killed it.
//
// The listener makes the memory, after it has taken the HELLO: nothing is mapped or allocated for a stranger. The connector
// checks what it gets: a memfd of the right size, sealed against shrinking (or touching it could kill this process).
//
// Threads: one at a time.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/fabric/tcp/carrier.h"

namespace ashlar::fabric::shm {

// Of the side that accepted: makes the memory and sends it.
absl::StatusOr<std::unique_ptr<tcp::Carrier>> MakeListenerCarrier(UniqueFd socket);
// Of the side that connects: `socket` is connected; the memory comes later.
std::unique_ptr<tcp::Carrier> MakeConnectorCarrier(UniqueFd socket);

}  // namespace ashlar::fabric::shm
