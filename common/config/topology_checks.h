// What must hold between the keys of a topology. Internal to common/config.
#pragma once

#include "common/config/fault_list.h"
#include "common/config/topology.h"

namespace ashlar::config {

// A topology may have faults already and then lack parts: what is absent is not complained about twice. Each node's
// node_id is set by the caller.
void CheckTopology(const Topology& topology, FaultList& faults);

}  // namespace ashlar::config
