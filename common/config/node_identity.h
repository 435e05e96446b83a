// Who a daemon is in this life: its number, and an incarnation that is higher than in every life before.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/config/state_directory.h"

namespace ashlar::config {

struct NodeIdentity {
  NodeId node_id;
  Incarnation incarnation;
};

// max(stored + 1, wall clock), stored durably before it is returned. Once per start of a daemon. The clock makes it
// grow even if the state directory was lost, the stored number even if the clock went back.
// Errors: DataLoss if the stored one is damaged (its file is named), FailedPrecondition if it is another node's.
absl::StatusOr<NodeIdentity> SyncNextIncarnation(StateDirectory& directory, NodeId node_id, std::uint64_t wall_clock_ns);

// CLOCK_REALTIME; 0 if it stands before 1970.
std::uint64_t WallClockNs();

}  // namespace ashlar::config
