// A topology of four nodes and a control server of one of them on a free port.
#pragma once

#include <memory>
#include <string>

#include "common/control/control_server.h"
#include "common/control/link_request.h"
#include "gtest/gtest.h"

namespace ashlar::control {

inline const config::Topology& TestTopology() {
  static const config::TopologyResult result = config::ParseTopology(R"(version: 1
cluster: test
nodes:
  - {id: p1, role: pnode, control: "127.0.0.1:7401", fabric: [{kind: tcp, address: "127.0.0.1:7501"}], cache_bytes: 64MiB}
  - {id: m1, role: mnode, control: "127.0.0.1:7402", fabric: [{kind: tcp, address: "127.0.0.1:7502"}], pool_bytes: 64MiB}
  - {id: m2, role: mnode, control: "127.0.0.1:7404", fabric: [{kind: tcp, address: "127.0.0.1:7504"}], pool_bytes: 64MiB}
  - {id: s1, role: snode, control: "127.0.0.1:7403", fabric: [{kind: tcp, address: "127.0.0.1:7503"}], log: {path: s1, capacity_bytes: 1GiB}}
defaults: {ack: disk, replicas: 1}
)",
                                                                      "test.yaml");
  EXPECT_TRUE(result.ok()) << config::RenderFaults(result.faults);
  return result.topology;
}

inline NodeId IdOf(std::string_view id) { return config::NodeIdOf("test", id); }

inline NodeIdentity IdentityOf(std::string_view id) {
  const config::Node& node = *TestTopology().FindNode(id);
  return {.cluster = "test", .id = node.id, .role = node.role, .node_id = node.node_id, .incarnation = Incarnation(77),
          .version = "0.1.0", .pid = 4711};
}

inline std::unique_ptr<ControlServer> StartServer(std::string_view id, ControlSources sources,
                                                  const std::string& address = "127.0.0.1:0") {
  auto server = ControlServer::Start({.address = address, .identity = IdentityOf(id), .topology = &TestTopology()},
                                     std::move(sources));
  EXPECT_TRUE(server.ok()) << server.status();
  return server.ok() ? *std::move(server) : nullptr;
}

// What p1 sends to m1 when all is well.
inline LinkRequest GoodLinkRequest() {
  return {.client_node = IdOf("p1"), .client_incarnation = Incarnation(5), .client_shard = 3, .backend = 1, .server_node = IdOf("m1")};
}

inline fit::LinkGrant GoodGrant() {
  fit::LinkGrant grant;
  for (std::size_t i = 0; i < grant.token.size(); ++i) grant.token[i] = static_cast<std::byte>(i + 200);
  grant.token_id = 9;
  grant.connection_epoch = 2;
  grant.address = "127.0.0.1:7502";
  grant.server_node = IdOf("m1");
  grant.server_incarnation = Incarnation(77);
  return grant;
}

}  // namespace ashlar::control
