#include "common/control/link_request.h"

#include <functional>
#include <vector>

#include "common/control/error.h"
#include "tests/unit/common/control/test_cluster.h"

namespace ashlar::control {
namespace {

TEST(LinkRequest, OfAKnownClientWithTheRightRoleIsAccepted) {
  EXPECT_TRUE(CheckLinkRequest(GoodLinkRequest(), IdentityOf("m1"), TestTopology()).ok());
  LinkRequest edge = GoodLinkRequest();
  edge.client_shard = kMaxShards - 1;
  edge.client_incarnation = Incarnation(~std::uint64_t{0});
  EXPECT_TRUE(CheckLinkRequest(edge, IdentityOf("m1"), TestTopology()).ok());
}

TEST(LinkRequest, EachAbsurdFieldIsRefusedByName) {
  struct Case {
    std::function<void(LinkRequest&)> spoil;
    absl::StatusCode code;
    std::string_view reason;
    std::string field;
  };
  using enum absl::StatusCode;
  const std::vector<Case> cases = {
      {[](LinkRequest& r) { r.client_node = NodeId(0); }, kInvalidArgument, reason::kFieldOutOfBounds, "client_node_id"},
      {[](LinkRequest& r) { r.client_incarnation = Incarnation(0); }, kInvalidArgument, reason::kFieldOutOfBounds, "client_incarnation"},
      {[](LinkRequest& r) { r.client_shard = kMaxShards; }, kInvalidArgument, reason::kFieldOutOfBounds, "client_shard"},
      {[](LinkRequest& r) { r.client_shard = 0xffffffff; }, kInvalidArgument, reason::kFieldOutOfBounds, "client_shard"},
      {[](LinkRequest& r) { r.client_shard = 65536; }, kInvalidArgument, reason::kFieldOutOfBounds, "client_shard"},
      {[](LinkRequest& r) { r.backend = 0; }, kInvalidArgument, reason::kFieldOutOfBounds, "backend"},
      {[](LinkRequest& r) { r.backend = 2; }, kInvalidArgument, reason::kFieldOutOfBounds, "backend"},
      {[](LinkRequest& r) { r.backend = -1; }, kInvalidArgument, reason::kFieldOutOfBounds, "backend"},
      {[](LinkRequest& r) { r.server_node = NodeId(0); }, kInvalidArgument, reason::kFieldOutOfBounds, "server_node_id"},
      {[](LinkRequest& r) { r.server_node = IdOf("m2"); }, kFailedPrecondition, reason::kWrongNode, "server_node_id"},
      {[](LinkRequest& r) { r.client_node = NodeId(12345); }, kNotFound, reason::kUnknownNode, "client_node_id"},
      {[](LinkRequest& r) { r.client_node = IdOf("s1"); }, kPermissionDenied, reason::kRoleMayNot, "client_node_id"},
      {[](LinkRequest& r) { r.client_node = IdOf("m2"); }, kPermissionDenied, reason::kRoleMayNot, "client_node_id"},
      {[](LinkRequest& r) { r.client_node = IdOf("m1"); }, kPermissionDenied, reason::kRoleMayNot, "client_node_id"},
  };
  for (const Case& one : cases) {
    LinkRequest request = GoodLinkRequest();
    one.spoil(request);
    const absl::Status status = CheckLinkRequest(request, IdentityOf("m1"), TestTopology());
    EXPECT_EQ(status.code(), one.code) << status;
    EXPECT_EQ(ReasonOf(status), one.reason) << status;
    EXPECT_EQ(FieldOf(status), one.field) << status;
  }
}

TEST(LinkRequest, LinksGoOnlyTowardsTheDisk) {
  using enum config::NodeRole;
  for (config::NodeRole client : {kUnknown, kPnode, kMnode, kSnode}) {
    for (config::NodeRole server : {kUnknown, kPnode, kMnode, kSnode}) {
      const bool wanted = (client == kPnode && (server == kMnode || server == kSnode)) || (client == kMnode && server == kSnode);
      EXPECT_EQ(MayOpenLink(client, server), wanted) << static_cast<int>(client) << "→" << static_cast<int>(server);
    }
  }
}

}  // namespace
}  // namespace ashlar::control
