// Who asks for a link to a data path, and whether that may be. See "Links" in common/control/README.md.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "common/base/ids.h"
#include "common/control/node_types.h"
#include "common/config/topology.h"

namespace ashlar::control {

// As received: nothing in it is trusted before CheckLinkRequest.
struct LinkRequest {
  NodeId client_node;
  Incarnation client_incarnation;
  std::uint32_t client_shard = 0;
  int backend = 0;  // ashlar.v1.Backend, possibly a number that does not exist
  NodeId server_node;
};

constexpr std::uint32_t kMaxShards = 1024;

// pnode → mnode → snode, and pnode → snode in recovery: no cycle.
constexpr bool MayOpenLink(config::NodeRole client, config::NodeRole server) {
  using enum config::NodeRole;
  return (client == kPnode && (server == kMnode || server == kSnode)) || (client == kMnode && server == kSnode);
}

// OK, or the first thing that is wrong with it, its reason and field in the status (error.h). Pure.
absl::Status CheckLinkRequest(const LinkRequest& request, const NodeIdentity& self, const config::Topology& topology);

}  // namespace ashlar::control
