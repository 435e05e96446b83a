#include "common/control/control_server.h"

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>

#include "common/control/control_client.h"
#include "common/control/error.h"
#include "tests/unit/common/control/test_cluster.h"

namespace ashlar::control {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(20);

std::chrono::system_clock::time_point DeadlineSoon() { return absl::ToChronoTime(absl::Now() + kTimeout); }

// A call as a tool without our stubs makes it: raw bytes to a method by name.
grpc::Status RawCall(const std::string& address, const std::string& method, const std::string& request, std::string* response) {
  auto channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  context.set_deadline(DeadlineSoon());
  const grpc::Slice slice(request);
  const grpc::ByteBuffer out(&slice, 1);
  grpc::CompletionQueue queue;
  auto call = stub.PrepareUnaryCall(&context, method, out, &queue);
  call->StartCall();
  grpc::ByteBuffer in;
  grpc::Status status;
  void* tag = nullptr;
  bool ok = false;
  call->Finish(&in, &status, &queue);
  EXPECT_TRUE(queue.Next(&tag, &ok));
  std::vector<grpc::Slice> slices;
  if (status.ok() && in.Dump(&slices).ok()) {
    for (const grpc::Slice& one : slices) response->append(reinterpret_cast<const char*>(one.begin()), one.size());
  }
  return status;
}

// grpc.health.v1.Health.Check: request {1: service}, response {1: status; 1 = SERVING, 2 = NOT_SERVING}.
std::string HealthOf(const ControlServer& server, const std::string& service) {
  std::string response;
  const std::string request = service.empty() ? "" : std::string("\x0a") + static_cast<char>(service.size()) + service;
  const grpc::Status status = RawCall(server.address(), "/grpc.health.v1.Health/Check", request, &response);
  if (!status.ok()) return status.error_code() == grpc::StatusCode::NOT_FOUND ? "unknown" : status.error_message();
  if (response == std::string("\x08\x01")) return "serving";
  if (response == std::string("\x08\x02")) return "not serving";
  return "odd";
}

TEST(ControlServer, DescribesItself) {
  auto server = StartServer("m1", {});
  const auto described = ControlClient::Create(server->address())->Describe(kTimeout);
  ASSERT_TRUE(described.ok()) << described.status();
  EXPECT_EQ(described->id, "m1");
  EXPECT_EQ(described->cluster, "test");
  EXPECT_EQ(described->role, config::NodeRole::kMnode);
  EXPECT_EQ(described->node_id, IdOf("m1"));
  EXPECT_EQ(described->incarnation, Incarnation(77));
  EXPECT_EQ(described->pid, 4711);
}

TEST(ControlServer, StatusHasItsOwnIdentityHealthAndUptimeAndTheSourcesRest) {
  auto server = StartServer("p1", {.status = [] {
                              return NodeStatus{.links = {{.peer = "m1", .state = fit::LinkState::kUp}},
                                                .usage = {{.name = "cache", .used_bytes = 1, .limit_bytes = 2}}};
                            }});
  auto client = ControlClient::Create(server->address());
  auto status = client->GetStatus(kTimeout);
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_EQ(status->node.id, "p1");
  EXPECT_EQ(status->health, Health::kStarting);
  EXPECT_GT(status->uptime, absl::ZeroDuration());
  ASSERT_EQ(status->links.size(), 1u);
  EXPECT_EQ(status->links[0].state, fit::LinkState::kUp);
  server->SetHealth(Health::kReady);
  EXPECT_EQ(client->GetStatus(kTimeout)->health, Health::kReady);
}

TEST(ControlServer, ALinkThatIsNotUpIsAProblemWithAFix) {
  auto server = StartServer("p1", {.status = [] {
                              return NodeStatus{.links = {{.peer = "m1", .state = fit::LinkState::kUp},
                                                          {.peer = "m2", .state = fit::LinkState::kBackOff, .last_failure = "refused"}}};
                            }});
  const auto status = ControlClient::Create(server->address())->GetStatus(kTimeout);
  ASSERT_TRUE(status.ok()) << status.status();
  ASSERT_EQ(status->problems.size(), 1u);
  EXPECT_EQ(status->problems[0].code, "LINK-DOWN");
  EXPECT_EQ(status->problems[0].text, "p1 has no data path to m2: refused");
  EXPECT_FALSE(status->problems[0].fix.empty());
}

TEST(ControlServer, AProgramWithAnyBytesInItsNameIsListed) {
  auto server = StartServer("p1", {.programs = [](bool) {
                              return std::vector<ProgramInfo>{{.name = "a\xff\x1b[31m\nb", .children = {{.name = "\xc3"}}}};
                            }});
  const auto programs = ControlClient::Create(server->address())->ListPrograms(false, kTimeout);
  ASSERT_TRUE(programs.ok()) << programs.status();
  EXPECT_EQ(programs->at(0).name, "a??[31m?b");
  EXPECT_EQ(programs->at(0).children.at(0).name, "?");
}

TEST(ControlServer, StatsComeFromEverySourceAndPerProgram) {
  ControlSources sources;
  sources.node_stats = {[](StatList& stats) { stats.Add("pool_used_bytes", 7); },
                        [](StatList& stats) { stats.Add("fit_calls_total", 8, "opcode=write_back"); }};
  sources.programs = [](bool) { return std::vector<ProgramInfo>(); };
  sources.program_stats = [](bool include_ended) {
    std::vector<ProgramStats> programs{{.program = SpaceId(1), .name = "a", .pid = 10}, {.program = SpaceId(2), .name = "b", .pid = 20}};
    programs[1].stats.Add("faults_total", 99);
    if (include_ended) programs.push_back({.program = SpaceId(3), .name = "c", .pid = 30, .ended = true});
    return programs;
  };
  auto server = StartServer("p1", sources);
  auto client = ControlClient::Create(server->address());
  const auto all = client->GetStats(SpaceId(0), false, kTimeout);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_EQ(all->node.values.size(), 2u);
  ASSERT_EQ(all->programs.size(), 2u);
  EXPECT_EQ(all->programs[0].name, "a");
  const auto one = client->GetStats(SpaceId(2), false, kTimeout);
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_TRUE(one->node.values.empty());
  ASSERT_EQ(one->programs.size(), 1u);
  EXPECT_EQ(one->programs[0].pid, 20);
  EXPECT_EQ(one->programs[0].stats.values[0].value, 99u);
  const auto none = client->GetStats(SpaceId(3), false, kTimeout);
  EXPECT_EQ(none.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(none.status()), reason::kUnknownProgram);
  EXPECT_EQ(FieldOf(none.status()), "program_id");
  const auto ended = client->GetStats(SpaceId(3), /*include_ended=*/true, kTimeout);
  ASSERT_TRUE(ended.ok()) << ended.status();
  EXPECT_TRUE(ended->programs.at(0).ended);
}

TEST(ControlServer, ListsProgramsOnPnodesOnly) {
  auto pnode = StartServer("p1", {.programs = [](bool include_ended) {
                             std::vector<ProgramInfo> programs{{.program = SpaceId(1), .name = "sort", .pid = 5}};
                             if (include_ended) programs.push_back({.program = SpaceId(2), .state = ProgramState::kEnded});
                             return programs;
                           }});
  auto client = ControlClient::Create(pnode->address());
  EXPECT_EQ(client->ListPrograms(false, kTimeout)->size(), 1u);
  EXPECT_EQ(client->ListPrograms(true, kTimeout)->size(), 2u);
  auto mnode = StartServer("m1", {});
  EXPECT_EQ(ControlClient::Create(mnode->address())->ListPrograms(false, kTimeout).status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(ControlServer, HandsOutALinkToTheClientThatWasChecked) {
  std::optional<fit::Client> asked;
  auto server = StartServer("m1", {.issue_link = [&](const fit::Client& client) -> absl::StatusOr<fit::LinkGrant> {
                              asked = client;
                              return GoodGrant();
                            }});
  auto client = ControlClient::Create(server->address());
  const auto grant = client->OpenLink(GoodLinkRequest(), kTimeout);
  ASSERT_TRUE(grant.ok()) << grant.status();
  EXPECT_EQ(grant->token, GoodGrant().token);
  EXPECT_EQ(grant->address, "127.0.0.1:7502");
  ASSERT_TRUE(asked.has_value());
  EXPECT_EQ(*asked, (fit::Client{.node = IdOf("p1"), .incarnation = Incarnation(5), .shard = 3}));

  asked.reset();
  LinkRequest absurd = GoodLinkRequest();
  absurd.client_shard = 65536 + 3;  // 3 if it were cut to 16 bits
  const auto refused = client->OpenLink(absurd, kTimeout);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(refused.status()), "client_shard");
  EXPECT_FALSE(asked.has_value());

  server->SetHealth(Health::kStopping);
  EXPECT_EQ(ReasonOf(client->OpenLink(GoodLinkRequest(), kTimeout).status()), reason::kNoDataPath);
}

TEST(ControlServer, ANodeWithoutADataPathSaysSo) {
  auto server = StartServer("m1", {});
  const auto refused = ControlClient::Create(server->address())->OpenLink(GoodLinkRequest(), kTimeout);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(refused.status()), reason::kNoDataPath);
}

TEST(ControlServer, HealthFollowsTheDaemon) {
  auto server = StartServer("p1", {.programs = [](bool) { return std::vector<ProgramInfo>(); }});
  for (const char* name : {"", "ashlar.v1.Node", "ashlar.v1.Stats", "ashlar.v1.Programs"}) {
    EXPECT_EQ(HealthOf(*server, name), "not serving") << name;
  }
  server->SetHealth(Health::kReady);
  for (const char* name : {"", "ashlar.v1.Node", "ashlar.v1.Stats", "ashlar.v1.Programs"}) {
    EXPECT_EQ(HealthOf(*server, name), "serving") << name;
  }
  EXPECT_EQ(HealthOf(*server, "ashlar.v1.Nonsense"), "unknown");
  auto mnode = StartServer("m1", {});
  EXPECT_EQ(HealthOf(*mnode, "ashlar.v1.Programs"), "unknown");
}

// ServerReflection.ServerReflectionInfo is a bidirectional stream: request {7: list_services}.
TEST(ControlServer, ReflectionListsTheServices) {
  auto server = StartServer("m1", {});
  grpc::GenericStub stub(grpc::CreateChannel(server->address(), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(DeadlineSoon());
  grpc::CompletionQueue queue;
  auto call = stub.PrepareCall(&context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &queue);
  void* tag = nullptr;
  bool ok = false;
  call->StartCall(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  const grpc::Slice slice(std::string("\x3a\x01*"));
  call->WriteLast(grpc::ByteBuffer(&slice, 1), grpc::WriteOptions(), nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  grpc::ByteBuffer in;
  call->Read(&in, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(in.Dump(&slices).ok());
  std::string response;
  for (const grpc::Slice& one : slices) response.append(reinterpret_cast<const char*>(one.begin()), one.size());
  for (const char* name : {"ashlar.v1.Node", "ashlar.v1.Stats", "grpc.health.v1.Health"}) {
    EXPECT_NE(response.find(name), std::string::npos) << name;
  }
  grpc::Status status;
  call->Finish(&status, nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok));
  EXPECT_TRUE(status.ok());
}

TEST(ControlServer, RandomBytesAreAnErrorAndItServesOn) {
  auto server = StartServer("m1", {});
  std::uint64_t random = 0x9e3779b97f4a7c15;
  for (const char* method : {"/ashlar.v1.Node/OpenLink", "/ashlar.v1.Node/GetStatus", "/ashlar.v1.Stats/GetStats"}) {
    for (int round = 0; round < 20; ++round) {
      std::string bytes(static_cast<std::size_t>(1 + round * 7), '\0');
      for (char& c : bytes) c = static_cast<char>((random = random * 6364136223846793005u + 1442695040888963407u) >> 56);
      std::string response;
      RawCall(server->address(), method, bytes, &response).ok();
    }
  }
  std::string response;
  EXPECT_EQ(RawCall(server->address(), "/ashlar.v1.Node/NoSuchMethod", "", &response).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(RawCall(server->address(), "/ashlar.v1.Node/Describe", std::string(5 << 20, 'x'), &response).error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(ControlClient::Create(server->address())->Describe(kTimeout).ok());
}

TEST(ControlServer, PlaintextOffLoopbackIsRefusedUnlessTheTopologyAllowsIt) {
  config::Topology topology = TestTopology();
  const auto refused = ControlServer::Start({.address = "10.1.2.3:7401", .identity = IdentityOf("m1"), .topology = &topology}, {});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(refused.status().message().find("insecure: true"), absl::string_view::npos);
  topology.insecure = true;  // now it fails only for want of such an address on this host
  const auto elsewhere = ControlServer::Start({.address = "192.0.2.1:7401", .identity = IdentityOf("m1"), .topology = &topology}, {});
  EXPECT_EQ(elsewhere.status().code(), absl::StatusCode::kUnavailable) << elsewhere.status();
  EXPECT_NE(elsewhere.status().message().find("no such address"), absl::string_view::npos) << elsewhere.status();
}

TEST(ControlServer, ASecondServerOnThePortFailsAndSaysWhy) {
  auto first = StartServer("m1", {});
  const auto second = ControlServer::Start({.address = first->address(), .identity = IdentityOf("m1"), .topology = &TestTopology()}, {});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(second.status().message().find("in use"), absl::string_view::npos) << second.status();
}

TEST(ControlServer, StopLetsACallUnderWayEnd) {
  std::atomic<bool> inside{false};
  std::atomic<bool> go_on{false};
  auto server = StartServer("m1", {.status = [&] {
                              inside = true;
                              inside.notify_all();
                              go_on.wait(false);
                              return NodeStatus();
                            }});
  auto client = ControlClient::Create(server->address());
  absl::StatusOr<NodeStatus> answer;
  std::thread caller([&] { answer = client->GetStatus(kTimeout); });
  inside.wait(false);
  std::thread stopper([&] { server->Stop(kTimeout); });
  go_on = true;
  go_on.notify_all();
  stopper.join();
  caller.join();
  EXPECT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(client->Describe(kTimeout).status().code(), absl::StatusCode::kUnavailable);
}

TEST(ControlClient, NobodyThereIsUnavailableAtOnceAndNamesWhom) {
  auto server = StartServer("m1", {});
  const std::string address = server->address();
  server.reset();
  const auto answer = ControlClient::Create(address)->Describe(kTimeout);
  EXPECT_EQ(answer.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_NE(answer.status().message().find(address), absl::string_view::npos) << answer.status();
}

TEST(ControlClient, ACallThatIsNotAnsweredEndsAtItsDeadline) {
  std::atomic<bool> go_on{false};
  auto server = StartServer("m1", {.status = [&] {
                              go_on.wait(false);
                              return NodeStatus();
                            }});
  EXPECT_EQ(ControlClient::Create(server->address())->GetStatus(absl::Milliseconds(50)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  go_on = true;
  go_on.notify_all();
}

}  // namespace
}  // namespace ashlar::control
