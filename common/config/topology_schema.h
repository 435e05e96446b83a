// The tables behind Topology. Internal to common/config, and to what writes or checks documentation.
#pragma once

#include <vector>

#include "common/config/schema.h"
#include "common/config/topology.h"

namespace ashlar::config {

const std::vector<Key<Topology>>& TopologyKeys();

// Every key, in the order of the tables.
std::vector<KeyDocument> DescribeTopology();

}  // namespace ashlar::config
