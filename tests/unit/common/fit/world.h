// A client and a server on one memory network and one clock that the test moves: nothing happens but by Turn and Advance.
#pragma once

#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "common/fabric/memory/network.h"
#include "common/fit/connection.h"
#include "common/fit/server.h"
#include "common/fit/wire.h"
#include "common/telemetry/log.h"

namespace ashlar::fit {

inline std::vector<std::byte> Bytes(std::string_view text) {
  auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}
inline std::string Text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Records how a call ended, and that it ended once.
class TestCall : public PendingCall {
 public:
  void OnDone(const CallResult& result) override {
    ++done;
    status = result.status;
    code = result.code;
    payload.assign(result.payload.begin(), result.payload.end());
    bulk.assign(result.bulk.begin(), result.bulk.end());
    hints = result.hints;
    if (on_done) on_done();
  }
  void OnReleased() override {
    ++released;
    released_after_done = done == 1;
    if (on_released) on_released();
  }
  int done = 0, released = 0;
  bool released_after_done = false;
  absl::Status status = absl::UnknownError("not done");
  Code code = Code::kOk;
  std::vector<std::byte> payload, bulk;
  Hints hints;
  std::function<void()> on_done, on_released;
};

class TestHandler : public Handler {
 public:
  void Handle(const RequestView& request, ReplyWriter reply) override {
    ++handled;
    if (on_request) return on_request(request, std::move(reply));
    Echo(request, std::move(reply));
  }
  void OnClientDown(const Client&) override { ++clients_down; }
  static void Echo(const RequestView& request, ReplyWriter reply) {
    std::size_t count = std::min<std::size_t>(request.payload.size(), 64);
    std::memcpy(reply.payload().data(), request.payload.data(), count);
    reply.Send(Code::kOk, static_cast<std::uint32_t>(count));
  }
  int handled = 0, clients_down = 0;
  std::function<void(const RequestView&, ReplyWriter)> on_request;
};

class World : public LinkOpener, public ConnectionEvents {
 public:
  static constexpr NodeId kClientNode{0xC1}, kServerNode{0x5E};

  using Wrap = std::function<std::unique_ptr<fabric::Device>(std::unique_ptr<fabric::Device>)>;

  // `wrap_client`, `wrap_server`: what stands between FIT and the network, if anything.
  explicit World(ServerOptions server_options = {.address = "server"}, ConnectionOptions connection_options = {},
                 const Wrap& wrap_client = {}, const Wrap& wrap_server = {})
      : server_options_(std::move(server_options)), connection_options_(std::move(connection_options)) {
    log::SetLevel(log::Level::kError);
    client_device = wrap_client ? wrap_client(network.OpenDevice()) : network.OpenDevice();
    server_device = wrap_server ? wrap_server(network.OpenDevice()) : network.OpenDevice();
    client_shard = *Shard::Create(*client_device, {.node = kClientNode, .incarnation = Incarnation(7), .clock = &clock});
    connection_options_.peer = "m1";
    connection_options_.server_node = kServerNode;
  }
  ~World() override {
    connection.reset();
    StopServer();
  }

  void StartServer(std::uint64_t incarnation = 1) {
    server_shard = *Shard::Create(*server_device, {.node = kServerNode, .incarnation = Incarnation(incarnation), .clock = &clock});
    server = *Server::Create(*server_shard, server_options_, handler);
  }
  void StopServer() {
    server.reset();
    kept.clear();
    server_shard.reset();
  }
  void StartClient() { connection = *Connection::Create(*client_shard, connection_options_, *this, this); }
  bool Connect() {
    StartServer();
    StartClient();
    return RunUntil([&] { return connection->state() == LinkState::kUp; });
  }

  void Turn() {
    client_shard->Poll();
    if (server_shard) server_shard->Poll();
  }
  // Moves the clock a millisecond at a time, at most `ms`.
  bool RunUntil(const std::function<bool()>& reached, int ms = 5000) {
    for (int i = 0; i <= ms; ++i) {
      for (int turn = 0; turn < 4; ++turn) {
        Turn();
        if (reached()) return true;
      }
      clock.Advance(absl::Milliseconds(1));
    }
    return false;
  }
  void Run(int ms) {
    RunUntil([] { return false; }, ms);
  }
  Deadline In(int ms) const { return {clock.NowNs() + static_cast<std::uint64_t>(ms) * 1'000'000}; }
  absl::Status Start(TestCall& call, std::string_view text, int ms = 1000, wire::Opcode opcode = wire::Opcode::kTrim) {
    return connection->Start(opcode, Bytes(text), {}, In(ms), call);
  }
  std::uint64_t Stat(std::string_view name, std::string_view label_part = "") const {
    StatList stats;
    connection->CollectStats(stats);
    return Sum(stats, name, label_part);
  }
  std::uint64_t ServerStat(std::string_view name, std::string_view label_part = "") const {
    StatList stats;
    server->CollectStats(stats);
    return Sum(stats, name, label_part);
  }

  // In the order of their making: the newest connection's ends are the last two.
  fabric::EndpointId ClientEnd() const { return *(network.endpoints().end() - 2); }
  fabric::EndpointId ServerEnd() const { return network.endpoints().back(); }

  // LinkOpener: straight to the server, if there is one.
  void OpenLink(absl::AnyInvocable<void(absl::StatusOr<LinkGrant>)> done) override {
    ++links_asked;
    if (on_open) return on_open(std::move(done));
    if (!server) return done(absl::UnavailableError("nobody there"));
    done(server->IssueLink({kClientNode, Incarnation(7), 0}));
  }
  void OnUp(Incarnation, std::uint64_t epoch) override {
    ++ups;
    last_epoch = epoch;
  }
  void OnDown(const absl::Status& reason) override {
    ++downs;
    down_reason = reason;
  }

  ManualClock clock;
  fabric::MemoryNetwork network{clock};
  std::unique_ptr<fabric::Device> client_device, server_device;
  std::unique_ptr<Shard> client_shard, server_shard;
  TestHandler handler;
  std::vector<ReplyWriter> kept;  // answers held back by a handler
  std::unique_ptr<Server> server;
  std::unique_ptr<Connection> connection;
  std::function<void(absl::AnyInvocable<void(absl::StatusOr<LinkGrant>)>)> on_open;
  int ups = 0, downs = 0, links_asked = 0;
  std::uint64_t last_epoch = 0;
  absl::Status down_reason;

 private:
  static std::uint64_t Sum(const StatList& stats, std::string_view name, std::string_view label_part) {
    std::uint64_t sum = 0;
    for (const auto& stat : stats.values)
      if (stat.name == name && stat.labels.find(label_part) != std::string::npos) sum += stat.value;
    return sum;
  }
  ServerOptions server_options_;
  ConnectionOptions connection_options_;
};

}  // namespace ashlar::fit
