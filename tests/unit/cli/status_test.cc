#include "cli/status.h"

#include "gtest/gtest.h"
#include "tests/unit/cli/fake_cluster.h"

namespace ashlar::cli {
namespace {

const config::Topology& Lab() {
  static const config::Topology topology = config::ParseTopology(R"(version: 1
cluster: lab
nodes:
  - {id: p1, role: pnode, control: "127.0.0.1:7401", fabric: [{kind: tcp, address: "127.0.0.1:7501"}], cache_bytes: 64MiB}
  - {id: m1, role: mnode, control: "127.0.0.1:7402", fabric: [{kind: tcp, address: "127.0.0.1:7502"}], pool_bytes: 64MiB}
defaults: {replicas: 0}
)", "lab.yaml").topology;
  return topology;
}

NodeReport Report(const std::string& id) {
  const config::Node& node = *Lab().FindNode(std::string_view(id));
  return {.status = {.node = {.cluster = "lab", .id = id, .role = node.role, .node_id = node.node_id, .version = "0.1.0"},
                     .health = control::Health::kReady, .uptime = absl::Minutes(90)}};
}

NodeReports Healthy() {
  NodeReport p1 = Report("p1");
  p1.programs_running = 1;
  p1.status.links = {{.peer = "m1", .state = fit::LinkState::kUp, .in_state = absl::Seconds(3)}};
  p1.status.usage = {{.name = "cache", .used_bytes = 32 << 20, .limit_bytes = 64 << 20}};
  NodeReport m1 = Report("m1");
  m1.status.usage = {{.name = "pool", .used_bytes = 0, .limit_bytes = 64 << 20}};
  return {{Lab().FindNode(std::string_view("p1")), p1}, {Lab().FindNode(std::string_view("m1")), m1}};
}

TEST(Status, AHealthyClusterIsOkAndFitsFewLines) {
  const NodeReports reports = Healthy();
  EXPECT_EQ(VerdictOf(reports, ProblemsOf(Lab(), reports)), Verdict::kOk);
  EXPECT_EQ(RenderStatus(Lab(), reports, false, {}), R"(lab  OK  2 of 2 nodes answer, 1 program
  p1  pnode  ready  up 1h 30m  cache 32 MiB of 64 MiB  links m1 up
  m1  mnode  ready  up 1h 30m  pool 0 B of 64 MiB
)");
}

TEST(Status, WhatIsWrongHasALineAndAFix) {
  NodeReports reports = Healthy();
  reports[0].answer->status.problems = {{.code = "LINK-DOWN", .text = "p1 has no data path to m1", .fix = "start m1"}};
  EXPECT_EQ(VerdictOf(reports, ProblemsOf(Lab(), reports)), Verdict::kWarn);
  reports[1].answer = absl::UnavailableError("127.0.0.1:7402: can't connect: Connection refused");
  EXPECT_EQ(VerdictOf(reports, ProblemsOf(Lab(), reports)), Verdict::kDown);
  EXPECT_EQ(RenderStatus(Lab(), reports, false, {}), R"(lab  DOWN  1 of 2 nodes answer, 1 program
  p1  pnode  ready  up 1h 30m       cache 32 MiB of 64 MiB  links m1 up
  m1  mnode  away   127.0.0.1:7402
WARN LINK-DOWN  p1 has no data path to m1
     fix: start m1
WARN NODE-AWAY  m1 does not answer: 127.0.0.1:7402: can't connect: Connection refused
     fix: on 127.0.0.1: systemctl status ashlar-mnode@m1, or start ashlar-mnode --id m1
)");
}

TEST(Status, AnotherNodeAtTheAddressAndANodeThatIsNotReadyAreProblems) {
  NodeReports reports = Healthy();
  reports[0].answer->status.node.cluster = "prod";
  reports[1].answer->status.health = control::Health::kStarting;
  const auto problems = ProblemsOf(Lab(), reports);
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_EQ(problems[0].problem.code, "WRONG-NODE");
  EXPECT_EQ(problems[1].problem.code, "NOT-READY");
  EXPECT_EQ(VerdictOf(reports, problems), Verdict::kWarn);
}

TEST(Status, OfOneNodeShowsItsLinks) {
  NodeReports reports = Healthy();
  reports[0].answer->status.links[0].last_failure = "silence of 500 ms";
  reports[0].answer->status.links[0].reconnects_total = 2;
  const std::string text = RenderStatus(Lab(), {reports[0]}, true, {});
  EXPECT_NE(text.find("link m1  tcp  up  for 3 s  2 reconnects  last failure: silence of 500 ms"), std::string::npos) << text;
}

TEST(Status, JsonHoldsTheSame) {
  NodeReports reports = Healthy();
  reports[1].answer = absl::DeadlineExceededError("no \"answer\"");
  const std::string text = StatusJson(Lab(), reports).ToString();
  EXPECT_TRUE(IsJson(text));
  for (const char* part : {R"("schema": "ashlar.status/1")", R"("verdict": "DOWN")", R"("uptime_ns": 5400000000000)", R"("reachable": false)",
                           R"("code": "NODE-AWAY")", R"("used_bytes": 33554432)", R"("state": "up")"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

}  // namespace
}  // namespace ashlar::cli
