#include "tests/unit/cli/fake_cluster.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <fstream>

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"
#include "gtest/gtest.h"

namespace ashlar::cli {
namespace {

// Ports that were free a moment ago. Held together while they are picked, so that they differ.
std::array<int, 3> FreePorts() {
  std::array<int, 3> ports{};
  std::array<UniqueFd, 3> sockets;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    sockets[i].Reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(sockets[i].get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::getsockname(sockets[i].get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
    ports[i] = ntohs(address.sin_port);
  }
  return ports;
}

}  // namespace

struct FakeCluster::Gate {
  std::atomic<bool> closed{false};
};

control::ProgramInfo FakeProgram() {
  return {.program = SpaceId(0xab), .name = "word_count", .pid = 4711, .uid = 1000, .started = absl::FromUnixSeconds(1'700'000'000),
          .limit_bytes = 64 << 20, .resident_bytes = 60 << 20, .staged_bytes = 3 << 20, .remote_bytes = 200 << 20,
          .local_only_bytes = 2 << 20, .peak_resident_bytes = 61 << 20,
          .children = {{.pid = 4712, .name = "sh", .mode = control::ChildMode::kLocal}}};
}

StatList FakePnodeStats() {
  StatList stats;
  stats.Add("faults_total", 61440, "source=first_touch");
  stats.Add("faults_total", 1201, "source=victim");
  stats.Add("faults_total", 19353, "source=remote");
  stats.Add("faults_total", 0, "source=duplicate");
  stats.Add("evicted_pages_total", 20554);
  stats.Add("fetched_bytes_total", 19353 * 4096);
  stats.Add("fit_reconnect_total", 1, "peer=m1");
  Histogram histogram;
  for (int i = 0; i < 100; ++i) histogram.Add(8000);
  histogram.Add(1'000'000);
  stats.Add("fault_wire_ns", histogram);
  return stats;
}

FakeCluster::FakeCluster() : gate_(std::make_shared<Gate>()) {
  const std::array<int, 3> ports = FreePorts();
  const std::string text = absl::StrCat(
      "version: 1\ncluster: fake\nnodes:\n",  //
      "  - {id: p1, role: pnode, control: \"127.0.0.1:", ports[0], "\", fabric: [{kind: tcp, address: \"127.0.0.1:1\"}], cache_bytes: 64MiB}\n",
      "  - {id: m1, role: mnode, control: \"127.0.0.1:", ports[1], "\", fabric: [{kind: tcp, address: \"127.0.0.1:2\"}], pool_bytes: 64MiB}\n",
      "  - {id: s1, role: snode, control: \"127.0.0.1:", ports[2], "\", fabric: [{kind: tcp, address: \"127.0.0.1:3\"}], log: {path: s1, capacity_bytes: 1GiB}}\n");
  topology_file_ = absl::StrCat(testing::TempDir(), "/fake-cluster-", ::getpid(), "-", ports[0], ".yaml");
  std::ofstream(topology_file_) << text;
  const config::TopologyResult parsed = config::ParseTopology(text, "fake.yaml");
  EXPECT_TRUE(parsed.ok()) << config::RenderFaults(parsed.faults);
  topology_ = parsed.topology;

  control::ControlSources pnode;
  pnode.status = [gate = gate_] {
    gate->closed.wait(true);
    return control::NodeStatus{.links = {{.peer = "m1", .state = fit::LinkState::kUp, .connection_epoch = 1}},
                               .usage = {{.name = "cache", .used_bytes = 60 << 20, .limit_bytes = 64 << 20}}};
  };
  pnode.node_stats = {[](StatList& stats) { stats = FakePnodeStats(); }};
  pnode.programs = [](bool include_ended) {
    std::vector<control::ProgramInfo> programs{FakeProgram()};
    if (include_ended) {
      programs.push_back({.program = SpaceId(0xaa), .name = "sort", .pid = 4000, .state = control::ProgramState::kKilled, .state_reason = "m1 was away for 60 s"});
    }
    return programs;
  };
  pnode.program_stats = [](bool include_ended) {
    std::vector<control::ProgramStats> programs{{.program = SpaceId(0xab), .name = "word_count", .pid = 4711}};
    programs[0].stats.Add("faults_total", 7, "source=remote");
    if (include_ended) {
      programs.push_back({.program = SpaceId(0xaa), .name = "sort", .pid = 4000, .ended = true});
      programs.push_back({.program = SpaceId(0xac), .name = "sort", .pid = 4002, .ended = true});
      programs.push_back({.program = SpaceId(0xad), .name = "word_count", .pid = 4003, .ended = true});
      for (control::ProgramStats& ended : programs) ended.stats.Add("evicted_pages_total", 8);
    }
    return programs;
  };
  Start("p1", std::move(pnode));
  control::ControlSources mnode;
  mnode.node_stats = {[](StatList& stats) { stats.Add("pool_used_bytes", 4 << 20); }};
  Start("m1", std::move(mnode));
  Start("s1", {});
}

FakeCluster::~FakeCluster() {
  UnblockStatus();
  ::unlink(topology_file_.c_str());
}

void FakeCluster::Start(const std::string& id, control::ControlSources sources) {
  const config::Node& node = *topology_.FindNode(std::string_view(id));
  const control::NodeIdentity identity{.cluster = "fake", .id = id, .role = node.role, .node_id = node.node_id,
                                       .incarnation = Incarnation(1), .version = "0.1.0", .pid = 1};
  auto server = control::ControlServer::Start({.address = node.control.ToString(), .identity = identity, .topology = &topology_},
                                              std::move(sources));
  ASSERT_TRUE(server.ok()) << server.status();
  (*server)->SetHealth(control::Health::kReady);
  servers_[id] = *std::move(server);
}

Options FakeCluster::OptionsFor(Verb verb, std::string target) const {
  Options options{.verb = verb, .target = std::move(target)};
  options.common.topology = topology_file_;
  options.common.timeout = absl::Seconds(20);
  return options;
}

void FakeCluster::BlockStatus() { gate_->closed = true; }

void FakeCluster::UnblockStatus() {
  gate_->closed = false;
  gate_->closed.notify_all();
}

bool IsJson(const std::string& text) {
  google::protobuf::Value value;
  const auto status = google::protobuf::util::JsonStringToMessage(text, &value);
  EXPECT_TRUE(status.ok()) << status.ToString() << "\n" << text;
  return status.ok();
}

}  // namespace ashlar::cli
