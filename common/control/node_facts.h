// What a daemon's main tells the control server, from what it has at hand. Threads: pure functions.
#pragma once

#include "common/base/ids.h"
#include "common/config/topology.h"
#include "common/control/node_types.h"
#include "common/fit/link_report.h"

namespace ashlar::control {

NodeIdentity IdentityOf(const config::Topology& topology, const config::Node& node, Incarnation incarnation);
LinkStatus LinkStatusOf(const fit::LinkReport& report);

}  // namespace ashlar::control
