#include "common/control/link_request.h"

#include "absl/strings/str_cat.h"
#include "common/control/error.h"
#include "proto/ashlar/v1/node.pb.h"

namespace ashlar::control {
namespace {

std::string RoleName(config::NodeRole role) { return std::string(config::NodeRoleName(role)); }

absl::Status CheckFields(const LinkRequest& request) {
  if (request.server_node == NodeId(0)) return BadField("server_node_id", "must name the node that is meant, got 0");
  if (request.client_node == NodeId(0)) return BadField("client_node_id", "must not be 0");
  if (request.client_incarnation == Incarnation(0)) return BadField("client_incarnation", "must not be 0");
  if (request.client_shard >= kMaxShards) {
    return BadField("client_shard", absl::StrCat("must be below ", kMaxShards, ", got ", request.client_shard));
  }
  if (request.backend != v1::BACKEND_TCP) {
    return BadField("backend", absl::StrCat("this node listens on tcp (", static_cast<int>(v1::BACKEND_TCP),
                                            ") only, got ", request.backend));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckLinkRequest(const LinkRequest& request, const NodeIdentity& self, const config::Topology& topology) {
  if (absl::Status fields = CheckFields(request); !fields.ok()) return fields;
  if (request.server_node != self.node_id) {
    return WithReason(
        absl::FailedPreconditionError(absl::StrCat("this is ", self.id, " of cluster ", self.cluster, " (node ",
                                                   self.node_id.value(), "), the call is meant for node ",
                                                   request.server_node.value(),
                                                   ": do both hosts have the same topology file?")),
        reason::kWrongNode, "server_node_id");
  }
  const config::Node* client = topology.FindNode(request.client_node);
  if (client == nullptr) {
    return WithReason(absl::NotFoundError(absl::StrCat("node ", request.client_node.value(), " is not in the topology of ",
                                                       self.id, ": do both hosts have the same topology file?")),
                      reason::kUnknownNode, "client_node_id");
  }
  if (!MayOpenLink(client->role, self.role)) {
    return WithReason(absl::PermissionDeniedError(absl::StrCat(client->id, " is a ", RoleName(client->role),
                                                               ", which opens no links to a ", RoleName(self.role))),
                      reason::kRoleMayNot, "client_node_id");
  }
  return absl::OkStatus();
}

}  // namespace ashlar::control
