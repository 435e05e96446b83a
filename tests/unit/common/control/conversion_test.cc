#include "common/control/conversion.h"

#include <functional>
#include <string>
#include <vector>

#include "common/control/error.h"
#include "tests/unit/common/control/test_cluster.h"

namespace ashlar::control {
namespace {

NodeStatus FullStatus() {
  return {.node = IdentityOf("p1"),
          .health = Health::kReady,
          .uptime = absl::Seconds(90),
          .links = {{.peer = "m1", .state = fit::LinkState::kBackOff, .in_state = absl::Milliseconds(12),
                     .last_failure = "connection refused", .reconnects_total = 4, .connection_epoch = 9}},
          .usage = {{.name = "cache", .used_bytes = 5, .limit_bytes = 10}},
          .problems = {{.code = "LINK-DOWN", .text = "m1 is away", .fix = "start m1"}}};
}

TEST(Conversion, NodeStatusComesBackAsItWas) {
  v1::GetStatusResponse wire;
  ToProto(FullStatus(), &wire);
  const auto back = FromProto(wire);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->node.id, "p1");
  EXPECT_EQ(back->node.cluster, "test");
  EXPECT_EQ(back->node.role, config::NodeRole::kPnode);
  EXPECT_EQ(back->node.node_id, IdOf("p1"));
  EXPECT_EQ(back->node.incarnation, Incarnation(77));
  EXPECT_EQ(back->node.version, "0.1.0");
  EXPECT_EQ(back->node.pid, 4711);
  EXPECT_EQ(back->health, Health::kReady);
  EXPECT_EQ(back->uptime, absl::Seconds(90));
  ASSERT_EQ(back->links.size(), 1u);
  EXPECT_EQ(back->links[0].peer, "m1");
  EXPECT_EQ(back->links[0].state, fit::LinkState::kBackOff);
  EXPECT_EQ(back->links[0].in_state, absl::Milliseconds(12));
  EXPECT_EQ(back->links[0].last_failure, "connection refused");
  EXPECT_EQ(back->links[0].reconnects_total, 4u);
  EXPECT_EQ(back->links[0].connection_epoch, 9u);
  ASSERT_EQ(back->usage.size(), 1u);
  EXPECT_EQ(back->usage[0].used_bytes, 5u);
  EXPECT_EQ(back->usage[0].limit_bytes, 10u);
  ASSERT_EQ(back->problems.size(), 1u);
  EXPECT_EQ(back->problems[0].fix, "start m1");
}

TEST(Conversion, EveryLinkAndProgramStateHasAWord) {
  for (int i = 0; i <= static_cast<int>(fit::LinkState::kBackOff); ++i) {
    NodeStatus status = FullStatus();
    status.links[0].state = static_cast<fit::LinkState>(i);
    v1::GetStatusResponse wire;
    ToProto(status, &wire);
    ASSERT_NE(wire.links(0).state(), v1::LINK_STATE_UNSPECIFIED) << i;
    EXPECT_EQ(FromProto(wire)->links[0].state, status.links[0].state);
  }
  for (ProgramState state : {ProgramState::kRunning, ProgramState::kEnded, ProgramState::kKilled}) {
    v1::ProgramInfo wire;
    ToProto(ProgramInfo{.state = state}, &wire);
    ASSERT_NE(wire.state(), v1::PROGRAM_STATE_UNSPECIFIED);
    EXPECT_EQ(FromProto(wire)->state, state);
  }
}

TEST(Conversion, ProgramInfoComesBackAsItWas) {
  const ProgramInfo program{.program = SpaceId(0xabcdef0123456789), .name = "sort", .pid = 12, .uid = 1000,
                            .started = absl::FromUnixNanos(1'700'000'000'123'456'789), .state = ProgramState::kKilled,
                            .state_reason = "no path to m1 for 60 s", .limit_bytes = 1, .resident_bytes = 2, .staged_bytes = 3,
                            .remote_bytes = 4, .local_only_bytes = 5, .peak_resident_bytes = 6,
                            .children = {{.pid = 13, .name = "sh", .mode = ChildMode::kLocal},
                                         {.pid = 14, .name = "sort", .mode = ChildMode::kServed}}};
  v1::ProgramInfo wire;
  ToProto(program, &wire);
  const auto back = FromProto(wire);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->program, program.program);
  EXPECT_EQ(back->name, "sort");
  EXPECT_EQ(back->started, program.started);
  EXPECT_EQ(back->state, ProgramState::kKilled);
  EXPECT_EQ(back->state_reason, program.state_reason);
  EXPECT_EQ(back->limit_bytes, 1u);
  EXPECT_EQ(back->resident_bytes, 2u);
  EXPECT_EQ(back->staged_bytes, 3u);
  EXPECT_EQ(back->remote_bytes, 4u);
  EXPECT_EQ(back->local_only_bytes, 5u);
  EXPECT_EQ(back->peak_resident_bytes, 6u);
  ASSERT_EQ(back->children.size(), 2u);
  EXPECT_EQ(back->children[0].mode, ChildMode::kLocal);
  EXPECT_EQ(back->children[1].mode, ChildMode::kServed);
  EXPECT_EQ(back->children[1].pid, 14);
}

TEST(Conversion, StatsKeepNamesLabelsAndEveryBucket) {
  Histogram histogram;
  for (std::uint64_t value : {0u, 1u, 9u, 9800u, 31000u, 4'000'000'000u}) histogram.Add(value);
  StatList list;
  list.Add("faults_total", 41, "source=remote,kind=read");
  list.Add("pool_used_bytes", ~std::uint64_t{0});
  list.Add("fault_ns", histogram, "stage=wire");
  v1::StatSet wire;
  ToProto(list, &wire);
  ASSERT_EQ(wire.histograms_size(), 1);
  EXPECT_EQ(wire.histograms(0).buckets_size(), 6);
  EXPECT_EQ(wire.histograms(0).p50(), histogram.Snapshot().Quantile(0.5));
  const auto back = FromProto(wire);
  ASSERT_TRUE(back.ok()) << back.status();
  ASSERT_EQ(back->values.size(), 2u);
  EXPECT_EQ(back->values[0].name, "faults_total");
  EXPECT_EQ(back->values[0].labels, "source=remote,kind=read");
  EXPECT_EQ(back->values[0].value, 41u);
  EXPECT_EQ(back->values[1].value, ~std::uint64_t{0});
  ASSERT_EQ(back->histograms.size(), 1u);
  EXPECT_EQ(back->histograms[0].labels, "stage=wire");
  EXPECT_EQ(back->histograms[0].snapshot.buckets, histogram.Snapshot().buckets);
  EXPECT_EQ(back->histograms[0].snapshot.sum, histogram.Snapshot().sum);
  EXPECT_EQ(back->histograms[0].snapshot.max, 4'000'000'000u);
}

// What a foreign or newer server may send: named, never guessed.
TEST(Conversion, UnknownValuesFromAServerAreErrorsThatNameTheField) {
  const std::vector<std::pair<std::function<void(v1::GetStatusResponse&)>, std::string>> statuses = {
      {[](auto& s) { s.mutable_node()->set_role(v1::NODE_ROLE_UNSPECIFIED); }, "role"},
      {[](auto& s) { s.mutable_node()->set_role(static_cast<v1::NodeRole>(99)); }, "role"},
      {[](auto& s) { s.set_health(static_cast<v1::NodeHealth>(-5)); }, "health"},
      {[](auto& s) { s.mutable_links(0)->set_state(v1::LINK_STATE_UNSPECIFIED); }, "links.state"},
      {[](auto& s) { s.mutable_links(0)->set_backend(static_cast<v1::Backend>(7)); }, "links.backend"},
  };
  for (const auto& [spoil, field] : statuses) {
    v1::GetStatusResponse wire;
    ToProto(FullStatus(), &wire);
    spoil(wire);
    const auto back = FromProto(wire);
    EXPECT_EQ(back.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(FieldOf(back.status()), field);
  }
}

TEST(Conversion, AHistogramThatDoesNotAddUpIsRefused) {
  v1::StatSet wire;
  v1::HistogramStat& histogram = *wire.add_histograms();
  histogram.set_count(3);
  histogram.add_buckets()->set_count(2);
  EXPECT_FALSE(FromProto(wire).ok());
  histogram.mutable_buckets(0)->set_count(~std::uint64_t{0});
  histogram.add_buckets()->set_count(4);  // overflows to 3
  histogram.mutable_buckets(1)->set_upper_bound(~std::uint64_t{0});
  EXPECT_FALSE(FromProto(wire).ok());
}

TEST(Conversion, AHugeDurationIsCutAndDoesNotOverflow) {
  v1::GetStatusResponse wire;
  ToProto(FullStatus(), &wire);
  wire.set_uptime_ns(~std::uint64_t{0});
  EXPECT_GT(FromProto(wire)->uptime, absl::Hours(24 * 365 * 290));
}

TEST(Conversion, AGrantIsTakenOnlyWhole) {
  v1::OpenLinkResponse good;
  ToProto(GoodGrant(), &good);
  const auto back = FromProto(good, IdOf("m1"));
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->token, GoodGrant().token);
  EXPECT_EQ(back->token_id, 9u);
  EXPECT_EQ(back->connection_epoch, 2u);
  EXPECT_EQ(back->address, "127.0.0.1:7502");
  EXPECT_EQ(back->server_incarnation, Incarnation(77));
  const std::vector<std::pair<std::function<void(v1::OpenLinkResponse&)>, std::string>> cases = {
      {[](auto& g) { g.clear_token(); }, "token"},
      {[](auto& g) { g.set_token(std::string(17, 'x')); }, "token"},
      {[](auto& g) { g.set_connection_epoch(0); }, "connection_epoch"},
      {[](auto& g) { g.set_server_incarnation(0); }, "server_incarnation"},
      {[](auto& g) { g.set_server_node_id(1); }, "server_node_id"},
      {[](auto& g) { g.set_address("nonsense"); }, "address"},
      {[](auto& g) { g.set_address(std::string(100'000, '1')); }, "address"},
  };
  for (const auto& [spoil, field] : cases) {
    v1::OpenLinkResponse bad = good;
    spoil(bad);
    EXPECT_EQ(FieldOf(FromProto(bad, IdOf("m1")).status()), field);
  }
}

}  // namespace
}  // namespace ashlar::control
