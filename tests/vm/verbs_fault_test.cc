// What peers and the network can do to a verbs endpoint, with a real peer process on another host of the guest: killed,
// cut off, a key that is none, a window taken back while it is written to. Each request ends once, the cause first.
//
// The peer is this program again, started with ASHLAR_TEST_RDMA_SERVE: it accepts one connection after the other, lends a
// window, tells it in a message, and takes it back when it is told to.
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>
#include <random>

#include <gtest/gtest.h>

#include "common/base/clock.h"
#include "common/fabric/names.h"
#include "common/fabric/verbs/device.h"

extern char** environ;

namespace ashlar::fabric {
namespace {

constexpr std::size_t kBytes = 256u << 10;
constexpr std::uint32_t kWindowBytes = 64u << 10;
constexpr std::uint64_t kReceives = 1'000'000;  // wr_ids of receives, behind those of writes
constexpr std::uint64_t kPatienceNs = 30'000'000'000;  // emulation on a busy machine; what matters is asserted apart

struct End {
  explicit End(const std::string& address) : memory(kBytes) {
    auto opened = OpenVerbsDevice({.address = address + ":0"});
    if (!opened.ok()) {
      std::fprintf(stderr, "%s\n", opened.status().ToString().c_str());
      std::abort();
    }
    device = *std::move(opened);
    domain = *device->OpenDomain();
    queue = *device->OpenQueue(2048);
    region = *domain->Register(memory);
  }
  Slice slice(std::uint64_t offset, std::uint32_t bytes) { return {.region = region.get(), .offset = offset, .bytes = bytes}; }
  void Poll() {
    Completion batch[32];
    const int count = queue->Poll(batch);
    completions.insert(completions.end(), batch, batch + count);
  }
  bool PollUntil(const std::function<bool()>& condition) {
    for (const std::uint64_t until = MonotonicNs() + kPatienceNs; !condition();) {
      Poll();
      if (MonotonicNs() > until) return condition();
    }
    return true;
  }
  absl::Status Receive(std::uint64_t wr_id, std::uint64_t offset) {
    const Slice into = slice(offset, 64);
    const WorkRequest receive{.wr_id = WrId(wr_id), .op = Op::kReceive, .local = {&into, 1}};
    return endpoint->Receive({&receive, 1});
  }

  std::vector<std::byte> memory;
  std::unique_ptr<Device> device;
  std::unique_ptr<Domain> domain;
  std::unique_ptr<CompletionQueue> queue;
  std::unique_ptr<Region> region;
  std::unique_ptr<Endpoint> endpoint;
  std::vector<Completion> completions;
};

struct Told {  // the peer's message
  std::uint32_t key = 0;
  std::uint32_t revoked = 0;  // 1: the window is out of reach, and was poisoned since
  std::uint64_t base = 0;
};

// The peer: serves for ever.
[[noreturn]] void Serve(const std::string& address) {
  End end(address);
  auto listener = *end.device->Listen(address + ":0");
  std::printf("%s\n", listener->address().c_str());
  std::fflush(stdout);
  const auto tell = [&end](const Told& told) {
    std::memcpy(end.memory.data() + 128u * 1024, &told, sizeof(told));
    const Slice from = end.slice(128u * 1024, sizeof(told));
    const WorkRequest send{.wr_id = WrId(1), .op = Op::kSend, .signalled = true, .local = {&from, 1}};
    return end.endpoint->Post({&send, 1}).ok();
  };
  while (true) {
    std::unique_ptr<PendingPeer> peer;
    while ((peer = listener->Accept()) == nullptr) ::usleep(1000);
    end.completions.clear();
    auto accepted = peer->Accept(*end.domain, *end.queue, {}, {});
    if (!accepted.ok()) continue;
    end.endpoint = *std::move(accepted);
    for (std::uint64_t i = 0; i < 8; ++i) end.Receive(100 + i, 192u * 1024 + i * 64).IgnoreError();
    std::optional<RemoteWindow> window;
    bool revoking = false;
    while (end.endpoint->state() != EndpointState::kError) {
      if (!window.has_value() && end.endpoint->state() == EndpointState::kReady) {
        window = *end.endpoint->Grant(end.slice(0, kWindowBytes), Access::kRemoteReadWrite);
        tell({.key = window->key.value(), .base = window->base});
      }
      end.Poll();
      for (const Completion& completion : end.completions) {
        const auto* done = std::get_if<Succeeded>(&completion);
        if (done == nullptr) continue;
        if (done->op == Op::kReceive && !revoking) revoking = end.endpoint->Revoke(*window, WrId(7)).ok();
        if (done->op == Op::kRevoke) {
          std::memset(end.memory.data(), 0xDD, kWindowBytes);  // somebody else's by now
          tell({.key = window->key.value(), .revoked = 1});
        }
      }
      end.completions.clear();
      ::usleep(200);
    }
    end.endpoint.reset();
  }
}

class VerbsFault : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* own = std::getenv("ASHLAR_TEST_RDMA_ADDRESS");
    const char* peer = std::getenv("ASHLAR_TEST_RDMA_PEER");
    if (own == nullptr || peer == nullptr) GTEST_SKIP() << "no two hosts with RDMA here; ./dev vm-test has them";
    StartPeer(peer);
    end_ = std::make_unique<End>(own);
  }
  void TearDown() override {
    if (end_ != nullptr) end_->endpoint.reset();
    KillPeer();
  }

  void StartPeer(const std::string& address) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe2(pipe_ends, 0), 0);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], 1);
    posix_spawn_file_actions_addclose(&actions, pipe_ends[0]);
    ::setenv("ASHLAR_TEST_RDMA_SERVE", address.c_str(), 1);
    char name[] = "verbs_fault_test";
    char* arguments[] = {name, nullptr};
    ASSERT_EQ(::posix_spawn(&peer_, "/proc/self/exe", &actions, nullptr, arguments, environ), 0);
    ::unsetenv("ASHLAR_TEST_RDMA_SERVE");
    posix_spawn_file_actions_destroy(&actions);
    ::close(pipe_ends[1]);
    FILE* words = ::fdopen(pipe_ends[0], "r");
    char line[256];
    while (std::fgets(line, sizeof(line), words) != nullptr) {
      address_ = line;
      address_.erase(address_.find_last_not_of('\n') + 1);
      if (address_.starts_with("10.")) break;
    }
    std::fclose(words);
    ASSERT_TRUE(address_.starts_with("10.")) << address_;
  }
  void KillPeer() {
    if (peer_ <= 0) return;
    ::kill(peer_, SIGKILL);
    ::waitpid(peer_, nullptr, 0);
    peer_ = 0;
  }

  // Connected, and the peer has told its window.
  void Connect() {
    auto connected = end_->device->Connect(address_, *end_->domain, *end_->queue, {}, {}, 10'000'000'000);
    ASSERT_TRUE(connected.ok()) << connected.status();
    end_->endpoint = *std::move(connected);
    end_->completions.clear();
    ASSERT_TRUE(end_->Receive(kReceives, 192u * 1024).ok());
    ASSERT_TRUE(end_->Receive(kReceives + 1, 192u * 1024 + 64).ok());
    ASSERT_TRUE(end_->PollUntil([&] { return !end_->completions.empty(); })) << end_->endpoint->reason();
    ASSERT_TRUE(std::holds_alternative<Succeeded>(end_->completions[0])) << end_->endpoint->reason();
    Told told;
    std::memcpy(&told, end_->memory.data() + 192u * 1024, sizeof(told));
    window_ = {.key = RemoteKey(told.key), .base = told.base, .bytes = kWindowBytes};
    end_->completions.clear();
  }

  absl::Status Write(std::uint64_t wr_id, const RemoteWindow& window, Op op = Op::kWrite) {
    const Slice slice = end_->slice(0, 4096);
    const WorkRequest request{.wr_id = WrId(wr_id), .op = op, .signalled = true, .local = {&slice, 1}, .window = window};
    return end_->endpoint->Post({&request, 1});
  }

  // Keeps the peer busy until the endpoint has failed: then each request has ended once, the oldest unanswered by `cause`,
  // the others flushed, none succeeded behind it. Returns ns from `since_ns` to the failure.
  std::uint64_t WriteUntilFailed(std::uint64_t since_ns, std::initializer_list<Status> causes) {
    std::uint64_t posted = 0;
    EXPECT_TRUE(end_->PollUntil([&] {
      while (end_->endpoint->state() == EndpointState::kReady && end_->endpoint->outstanding() < 17 && Write(posted, window_).ok()) ++posted;
      return end_->endpoint->state() == EndpointState::kError;
    }));
    const std::uint64_t took_ns = MonotonicNs() - since_ns;
    EXPECT_TRUE(end_->PollUntil([&] { return end_->endpoint->outstanding() == 0; }));
    std::vector<int> ended(posted);
    bool failed = false;
    for (const Completion& completion : end_->completions) {
      const std::uint64_t wr_id = std::visit([](const auto& one) { return one.wr_id.value(); }, completion);
      if (wr_id < posted) ++ended[wr_id];
      if (const auto* failure = std::get_if<Failed>(&completion)) {
        const bool right = failed ? failure->status == Status::kFlushed : std::ranges::find(causes, failure->status) != causes.end();
        EXPECT_TRUE(right) << Name(failure->status) << (failed ? " behind a failure" : " as the cause");
        failed = true;
      } else {
        EXPECT_FALSE(failed) << "a success behind a failure";
      }
    }
    EXPECT_TRUE(failed);
    for (std::uint64_t i = 0; i < posted; ++i) EXPECT_EQ(ended[i], 1) << "request " << i;
    std::printf("  failed after %llu ms, %llu requests: %s\n", static_cast<unsigned long long>(took_ns / 1'000'000),
                static_cast<unsigned long long>(posted), std::string(end_->endpoint->reason().message()).c_str());
    return took_ns;
  }

  pid_t peer_ = 0;
  std::string address_;
  std::unique_ptr<End> end_;
  RemoteWindow window_;
};

TEST_F(VerbsFault, AKilledPeerIsNoticedAndAnotherTakesItsPlace) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  ASSERT_TRUE(Write(0, window_).ok());
  ASSERT_TRUE(end_->PollUntil([&] { return end_->completions.size() == 1; }));
  end_->completions.clear();
  const std::uint64_t killed_ns = MonotonicNs();
  KillPeer();
  // Soft RoCE may refuse the first write by the dead process's windows before its queue pair falls silent.
  EXPECT_LT(WriteUntilFailed(killed_ns, {Status::kRetryExceeded, Status::kRemoteAccess}), 5'000'000'000u);
  end_->endpoint.reset();
  ASSERT_NO_FATAL_FAILURE(StartPeer(std::getenv("ASHLAR_TEST_RDMA_PEER")));
  ASSERT_NO_FATAL_FAILURE(Connect());
  ASSERT_TRUE(Write(1, window_).ok());
  ASSERT_TRUE(end_->PollUntil([&] { return end_->completions.size() == 1; }));
  EXPECT_TRUE(std::holds_alternative<Succeeded>(end_->completions[0]));
}

TEST_F(VerbsFault, APeerThatIsCutOffEndsEveryRequest) {
  const char* cut = std::getenv("ASHLAR_TEST_RDMA_CUT");
  if (cut == nullptr) GTEST_SKIP() << "ASHLAR_TEST_RDMA_CUT does not say how to cut the peer off";
  ASSERT_NO_FATAL_FAILURE(Connect());
  ASSERT_EQ(std::system((std::string(cut) + " down").c_str()), 0);
  const std::uint64_t took_ns = WriteUntilFailed(MonotonicNs(), {Status::kRetryExceeded});
  EXPECT_EQ(std::system((std::string(cut) + " up").c_str()), 0);
  EXPECT_LT(took_ns, 5'000'000'000u);
  EXPECT_GT(took_ns, 100'000'000u) << "its retries were not waited for";
}

TEST_F(VerbsFault, AKeyThatIsNoneCostsTheConnectionAndWritesNothing) {
  std::mt19937 random(1);
  for (int round = 0; round < 4; ++round) {
    ASSERT_NO_FATAL_FAILURE(Connect());
    RemoteWindow invented = window_;
    invented.key = RemoteKey(round == 0 ? window_.key.value() ^ 1 : static_cast<std::uint32_t>(random()));
    ASSERT_TRUE(Write(0, invented, round % 2 == 0 ? Op::kWrite : Op::kRead).ok());
    ASSERT_TRUE(end_->PollUntil([&] { return end_->completions.size() == 2; }));
    EXPECT_EQ(std::get<Failed>(end_->completions[0]).status, Status::kRemoteAccess);
    EXPECT_EQ(std::get<Failed>(end_->completions[0]).wr_id, WrId(0));
    EXPECT_EQ(std::get<Failed>(end_->completions[1]).status, Status::kFlushed) << "the receive";
    end_->endpoint.reset();
  }
}

TEST_F(VerbsFault, AWindowTakenBackIsOutOfReach) {
  ASSERT_NO_FATAL_FAILURE(Connect());
  const Slice word = end_->slice(0, 32);
  const WorkRequest ask{.wr_id = WrId(900), .op = Op::kSend, .local = {&word, 1}};
  ASSERT_TRUE(end_->endpoint->Post({&ask, 1}).ok());
  WriteUntilFailed(MonotonicNs(), {Status::kRemoteAccess});
}

TEST_F(VerbsFault, NobodyThereIsSaidAtOnce) {
  KillPeer();
  auto connected = end_->device->Connect(address_, *end_->domain, *end_->queue, {}, {}, 10'000'000'000);
  ASSERT_TRUE(connected.ok());
  end_->endpoint = *std::move(connected);
  ASSERT_TRUE(end_->PollUntil([&] { return end_->endpoint->state() == EndpointState::kError; }));
  EXPECT_TRUE(absl::IsUnavailable(end_->endpoint->reason())) << end_->endpoint->reason();
}

}  // namespace
}  // namespace ashlar::fabric

int main(int argc, char** argv) {
  if (const char* address = std::getenv("ASHLAR_TEST_RDMA_SERVE")) ashlar::fabric::Serve(address);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
