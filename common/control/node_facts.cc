#include "common/control/node_facts.h"

#include <unistd.h>

#include "common/base/clock.h"

namespace ashlar::control {

NodeIdentity IdentityOf(const config::Topology& topology, const config::Node& node, Incarnation incarnation) {
  return {.cluster = topology.cluster,
          .id = node.id,
          .role = node.role,
          .node_id = node.node_id,
          .incarnation = incarnation,
          .version = ASHLAR_VERSION,
          .pid = ::getpid()};
}

LinkStatus LinkStatusOf(const fit::LinkReport& report) {
  return {.peer = report.peer,
          .backend = config::FabricKind::kTcp,
          .state = report.state,
          .in_state = absl::Nanoseconds(static_cast<std::int64_t>(MonotonicNs() - report.since_ns)),
          .last_failure = report.last_failure,
          .reconnects_total = report.losses,
          .connection_epoch = report.connection_epoch};
}

}  // namespace ashlar::control
