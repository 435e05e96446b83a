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

LinkOpenerOptions LinkFrom(const config::Node& self, Incarnation incarnation, const config::Node& peer) {
  return {.client_node = self.node_id,
          .client_incarnation = incarnation,
          .peer = peer.id,
          .server_node = peer.node_id,
          .control_address = peer.control.ToString()};
}

fit::ConnectionOptions ConnectionTo(const config::Node& peer, const config::Timeouts& timeouts) {
  return {.peer = peer.id,
          .server_node = peer.node_id,
          .keep_alive_ns = static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(timeouts.keep_alive)),
          .suspect_ns = static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(timeouts.suspect))};
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
