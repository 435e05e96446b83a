// What a daemon tells the control path and its links, from what it has at hand. Threads: pure functions.
#pragma once

#include "common/base/ids.h"
#include "common/config/topology.h"
#include "common/control/link_opener.h"
#include "common/control/node_types.h"
#include "common/fit/connection.h"
#include "common/fit/link_report.h"

namespace ashlar::control {

NodeIdentity IdentityOf(const config::Topology& topology, const config::Node& node, Incarnation incarnation);
// The link from `self` to the server `peer`: how to ask for it, and how to keep it.
LinkOpenerOptions LinkFrom(const config::Node& self, Incarnation incarnation, const config::Node& peer);
fit::ConnectionOptions ConnectionTo(const config::Node& peer, const config::Timeouts& timeouts);
LinkStatus LinkStatusOf(const fit::LinkReport& report);

}  // namespace ashlar::control
