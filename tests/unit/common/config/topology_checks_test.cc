#include "common/config/topology_checks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace ashlar::config {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string NodeLine(std::string_view id, std::string_view role, int port, std::string_view rest) {
  return absl::StrCat("  - {id: ", std::string(id), ", role: ", std::string(role), ", control: \"127.0.0.1:", port,
                      "\", fabric: [{kind: tcp, address: \"127.0.0.1:", port + 100, "\"}], ", std::string(rest), "}\n");
}
const std::string kHead = "version: 1\ncluster: lab\nnodes:\n";
const std::string kP1 = NodeLine("p1", "pnode", 7401, "cache_bytes: 16MiB");
const std::string kM1 = NodeLine("m1", "mnode", 7402, "pool_bytes: 8MiB");
const std::string kS1 = NodeLine("s1", "snode", 7403, "log: {path: s1, capacity_bytes: 512MiB}");

std::vector<std::string> Faults(const std::string& text) {
  std::vector<std::string> lines;
  for (const Fault& fault : ParseTopology(text, "f").faults) lines.push_back(RenderLine(fault));
  return lines;
}

TEST(TopologyChecks, AWholeTopologyPasses) { EXPECT_THAT(Faults(kHead + kP1 + kM1 + kS1), IsEmpty()); }

TEST(TopologyChecks, ReplicasNeedASnode) {
  EXPECT_THAT(Faults(kHead + kP1 + kM1), ElementsAre(HasSubstr("nodes: defaults.replicas is 1 by default, but there are 0 snodes")));
  EXPECT_THAT(Faults(kHead + kP1 + kM1 + "defaults: {replicas: 1}\n"),
              ElementsAre(HasSubstr("f:6:22: defaults.replicas: is 1, but there are 0 snodes")));
  EXPECT_THAT(Faults(kHead + kP1 + kM1 + "defaults: {replicas: 0}\n"), IsEmpty());
}

TEST(TopologyChecks, APnodeNeedsAnMnode) {
  EXPECT_THAT(Faults(kHead + kP1 + kS1), ElementsAre(HasSubstr("nodes: has a pnode but no mnode")));
  EXPECT_THAT(Faults(kHead + kM1 + kS1), IsEmpty());
}

TEST(TopologyChecks, APortStandsOncePerHostWhateverTheAddress) {
  const std::string a = NodeLine("a", "mnode", 7411, "host: x, pool_bytes: 8MiB");
  const std::string same_host =
      "  - {id: b, role: mnode, control: \"127.0.0.2:7411\", fabric: [{kind: tcp, address: \"127.0.0.2:7512\"}], host: x, pool_bytes: 8MiB}\n";
  EXPECT_THAT(Faults(kHead + kS1 + a + same_host),
              ElementsAre(HasSubstr("nodes[2].control: port 7411 is taken on host \"x\" by nodes[1].control (line 5)")));
  const std::string other_host =
      "  - {id: b, role: mnode, control: \"127.0.0.2:7411\", fabric: [{kind: tcp, address: \"127.0.0.2:7512\"}], host: y, pool_bytes: 8MiB}\n";
  EXPECT_THAT(Faults(kHead + kS1 + a + other_host), IsEmpty());
}

TEST(TopologyChecks, ALogDirectoryStandsOncePerHost) {
  const std::string s2 = NodeLine("s2", "snode", 7404, "log: {path: s1, capacity_bytes: 512MiB}");
  EXPECT_THAT(Faults(kHead + kS1 + s2),
              ElementsAre(HasSubstr("nodes[1].log.path: is the directory of nodes[0].log.path (line 4) on the same host")));
}

TEST(TopologyChecks, TimeoutsAreInOrder) {
  const auto with = [](const std::string& timeouts) {
    return Faults(kHead + kP1 + kM1 + kS1 + "defaults: {timeouts: {" + timeouts + "}}\n");
  };
  EXPECT_THAT(with("suspect: 199ms"), ElementsAre(HasSubstr("defaults.timeouts.suspect: suspect must be at least twice keep_alive (100ms)")));
  EXPECT_THAT(with("keep_alive: 300ms"), ElementsAre(HasSubstr("defaults.timeouts.keep_alive: suspect must be at least twice keep_alive (300ms)")));
  EXPECT_THAT(with("suspect: 2m"), ElementsAre(HasSubstr("give_up must be more than suspect (2m)")));
  EXPECT_THAT(with("call: 2m"), ElementsAre(HasSubstr("give_up must be at least call (2m)")));
  EXPECT_THAT(with("suspect: 200ms"), IsEmpty());
}

TEST(TopologyChecks, InsecureAllowsAddressesOffLoopback) {
  const std::string away =
      "  - {id: m2, role: mnode, control: \"10.0.0.2:7402\", fabric: [{kind: tcp, address: \"[fd00::2]:7502\"}], pool_bytes: 8MiB}\n";
  EXPECT_THAT(Faults(kHead + kS1 + away), ElementsAre(HasSubstr("nodes[1].control: is not on loopback"),
                                                     HasSubstr("nodes[1].fabric[0].address: is not on loopback")));
  EXPECT_THAT(Faults(kHead + kS1 + away + "insecure: false\n"), ::testing::SizeIs(2));
  EXPECT_THAT(Faults(kHead + kS1 + away + "insecure: true\n"), IsEmpty());
}

// A real collision of the digest cannot be had, so the numbers are set by hand.
TEST(TopologyChecks, CollidingNodeNumbersAreRefused) {
  const std::string text = kHead + kP1 + NodeLine("p2", "pnode", 7405, "cache_bytes: 16MiB") + kM1 + kS1;
  Topology topology = ParseTopology(text, "f").topology;
  const auto faults_of = [&text](const Topology& changed) {
    FaultList faults(text, "f");
    CheckTopology(changed, faults);
    std::vector<std::string> lines;
    for (const Fault& fault : faults.Take()) lines.push_back(RenderLine(fault));
    return lines;
  };
  EXPECT_THAT(faults_of(topology), IsEmpty());
  topology.nodes[1].node_id = topology.nodes[0].node_id;
  EXPECT_THAT(faults_of(topology), ElementsAre(HasSubstr("nodes[1].id: has the same node number as nodes[0].id (line 4)")));
  topology.nodes[1].node_id = NodeId(topology.nodes[0].node_id.value() ^ 1);
  EXPECT_THAT(faults_of(topology), ElementsAre(HasSubstr("nodes[1].id: would number its spaces like nodes[0].id (line 4)")));
  topology.nodes[1].node_id = NodeId(0);
  EXPECT_THAT(faults_of(topology), ElementsAre(HasSubstr("the same node number as no node at all")));
}

}  // namespace
}  // namespace ashlar::config
