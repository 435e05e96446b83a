// Over real sockets, each side on a thread of its own that sleeps when there is nothing to do.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <future>
#include <random>
#include <thread>

#include "common/base/unique_fd.h"
#include "common/fabric/tcp/device.h"
#include "tests/unit/common/fit/world.h"

namespace ashlar::fit {
namespace {

constexpr NodeId kServerNode{0x5E};

// A shard on its own thread; everything made from it is made and destroyed there.
class Node {
 public:
  Node(NodeId id, std::uint64_t incarnation, std::uint16_t index = 0) : device_(fabric::OpenTcpDevice()) {
    shard_ = *Shard::Create(*device_, {.index = index, .node = id, .incarnation = Incarnation(incarnation)});
    thread_ = std::thread([this] { shard_->Run(nullptr); });
  }
  ~Node() {
    shard_->Stop();
    thread_.join();
  }
  Shard& shard() { return *shard_; }
  template <typename F>
  auto Do(F work) {
    std::promise<decltype(work())> done;
    auto result = done.get_future();
    shard_->Submit([&] { done.set_value(work()); });
    return result.get();
  }

 private:
  std::unique_ptr<fabric::Device> device_;
  std::unique_ptr<Shard> shard_;
  std::thread thread_;
};

class TcpWorld : public LinkOpener {
 public:
  TcpWorld() {
    log::SetLevel(log::Level::kError);
    StartServer(1);
  }
  ~TcpWorld() override { StopServer(); }
  void StartServer(std::uint64_t incarnation, std::string address = "127.0.0.1:0") {
    auto node = std::make_unique<Node>(kServerNode, incarnation);
    auto server = node->Do([&] { return *Server::Create(node->shard(), {.address = address}, handler); });
    absl::MutexLock lock(&mutex_);
    node_ = std::move(node);
    server_ = std::move(server);
  }
  void StopServer() {
    std::unique_ptr<Server> server;
    {
      absl::MutexLock lock(&mutex_);
      server = std::move(server_);
    }
    if (server) node_->Do([&] { return server.reset(), 0; });
    node_.reset();
  }
  void OpenLink(absl::AnyInvocable<void(absl::StatusOr<LinkGrant>)> done) override {
    absl::MutexLock lock(&mutex_);
    if (!server_) return done(absl::UnavailableError("down"));
    done(server_->IssueLink({NodeId(0xC1), Incarnation(7), 0}));
  }
  std::string address() {
    absl::MutexLock lock(&mutex_);
    return server_->address();
  }
  std::uint64_t ServerStat(std::string_view name) {
    StatList stats;
    absl::MutexLock lock(&mutex_);
    server_->CollectStats(stats);
    std::uint64_t sum = 0;
    for (const auto& stat : stats.values) sum += stat.name == name ? stat.value : 0;
    return sum;
  }

  TestHandler handler;

 private:
  absl::Mutex mutex_;
  std::unique_ptr<Node> node_;
  std::unique_ptr<Server> server_;
};

class BlockingClient {
 public:
  explicit BlockingClient(TcpWorld& world) : node_(NodeId(0xC1), 7) {
    connection_ = node_.Do([&] {
      return *Connection::Create(node_.shard(), {.peer = "m1", .server_node = kServerNode}, world, nullptr);
    });
  }
  ~BlockingClient() {
    node_.Do([&] { return connection_.reset(), 0; });
  }
  // OK and the echoed text, or how it ended.
  absl::StatusOr<std::string> Echo(const std::string& text, int ms = 10'000) {
    TestCall call;
    std::promise<void> released;
    call.on_released = [&] { released.set_value(); };
    absl::Status started = node_.Do([&] {
      Deadline deadline{MonotonicNs() + static_cast<std::uint64_t>(ms) * 1'000'000};
      return connection_->Start(wire::Opcode::kTrim, Bytes(text), {}, deadline, call);
    });
    if (!started.ok()) return started;
    released.get_future().wait();
    if (!call.status.ok()) return call.status;
    return Text(call.payload);
  }

 private:
  Node node_;
  std::unique_ptr<Connection> connection_;
};

TEST(FitTcp, CallsTravelBetweenSleepingThreads) {
  TcpWorld world;
  BlockingClient client(world);
  for (int i = 0; i < 200; ++i) EXPECT_EQ(*client.Echo(std::to_string(i)), std::to_string(i));
  EXPECT_EQ(world.handler.handled, 200);
}

TEST(FitTcp, ACallSurvivesARestartOfTheServerOnTheSameAddress) {
  TcpWorld world;
  BlockingClient client(world);
  ASSERT_TRUE(client.Echo("before").ok());
  std::string address = world.address();
  world.StopServer();
  auto during = std::async(std::launch::async, [&] { return client.Echo("during"); });
  std::uint64_t start = MonotonicNs();
  world.StartServer(2, address);
  EXPECT_EQ(*during.get(), "during");
  EXPECT_LT(MonotonicNs() - start, 2'500'000'000u);
}

int RawConnect(const std::string& address) {
  sockaddr_in to{.sin_family = AF_INET, .sin_port = htons(static_cast<std::uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))))};
  ::inet_pton(AF_INET, "127.0.0.1", &to.sin_addr);
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  timeval timeout{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof(to)), 0) << std::strerror(errno);
  return fd;
}

TEST(FitTcp, RandomBytesFromStrangersHurtNobody) {
  TcpWorld world;
  BlockingClient client(world);
  ASSERT_TRUE(client.Echo("before").ok());
  std::minstd_rand random(5);
  for (int i = 0; i < 100; ++i) {
    UniqueFd fd(RawConnect(world.address()));
    std::vector<char> bytes(random() % 3000 + 1);
    for (char& byte : bytes) byte = static_cast<char>(random());
    [[maybe_unused]] ssize_t sent = ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    char answer[256];
    if (i % 10 == 0 && bytes.size() >= 200) {  // it is hung up on, not left waiting
      ssize_t got;
      while ((got = ::recv(fd.get(), answer, sizeof(answer), 0)) > 0) {
      }
      EXPECT_TRUE(got == 0 || errno == ECONNRESET) << std::strerror(errno);
    }
  }
  EXPECT_EQ(*client.Echo("after"), "after");
}

}  // namespace
}  // namespace ashlar::fit
