// A FIT call of 64 bytes each way, over the tcp fabric.
//
// Estimate: 40 + 64 + 64 bytes each way, one system call to send and one to receive on each side, as in the raw
// ping-pong; four checksums over ~100 bytes on each side, the validation, two ledgers and a timer are some 0.5 us of 8.
// 32 calls in flight share their system calls: some 2 us of our own work for each call are left on the slower side.
#include "tests/bench/fabric/rpc.h"

#include <poll.h>

#include <array>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/fabric/tcp/device.h"
#include "common/fit/connection.h"
#include "common/fit/server.h"
#include "tests/bench/fabric/raw_tcp.h"

namespace ashlar::bench {
namespace {

constexpr std::size_t kBytes = 64;
constexpr std::size_t kDepth = 32;
constexpr NodeId kServerNode(2);

class EchoHandler final : public fit::Handler {
 public:
  void Handle(const fit::RequestView& request, fit::ReplyWriter reply) override {
    std::memcpy(reply.payload().data(), request.payload.data(), request.payload.size());
    reply.Send(fit::Code::kOk, static_cast<std::uint32_t>(request.payload.size()));
  }
  void OnClientDown(const fit::Client&) override {}
};

// A server on its own thread, and a client whose shard the caller polls.
class FitPair final : public fit::LinkOpener {
 public:
  FitPair(Wait wait, unsigned server_cpu) : wait_(wait) {
    device_ = fabric::OpenTcpDevice();
    server_shard_ = *fit::Shard::Create(*device_, {.node = kServerNode, .incarnation = Incarnation(1),
                                                   .spin_ns = wait == Wait::kSpinning ? 10'000'000'000u : 0u});
    server_ = *fit::Server::Create(*server_shard_, {.address = "127.0.0.1:0"}, handler_);
    shard_ = *fit::Shard::Create(*device_, {.node = NodeId(1), .incarnation = Incarnation(1)});
    thread_ = std::thread([this, server_cpu] {
      PinToCpu(server_cpu);
      server_shard_->Run(nullptr);
    });
    connection_ = *fit::Connection::Create(*shard_, {.peer = "m1", .server_node = kServerNode}, *this, nullptr);
    while (connection_->state() != fit::LinkState::kUp) Turn();
  }
  ~FitPair() override {
    connection_.reset();
    server_shard_->Stop();
    thread_.join();
    server_.reset();
  }

  void OpenLink(absl::AnyInvocable<void(absl::StatusOr<fit::LinkGrant>)> done) override {
    done(server_->IssueLink({NodeId(1), Incarnation(1), 0}));
  }
  fit::Connection& connection() { return *connection_; }
  void Turn() {
    if (wait_ == Wait::kSpinning) {
      shard_->Poll();
      return;
    }
    shard_->Arm();
    if (shard_->Poll() > 0) return;
    pollfd waiting{.fd = shard_->event_fd(), .events = POLLIN, .revents = 0};
    ::poll(&waiting, 1, 10);
  }

 private:
  const Wait wait_;
  EchoHandler handler_;
  std::unique_ptr<fabric::Device> device_;
  std::unique_ptr<fit::Shard> server_shard_, shard_;
  std::unique_ptr<fit::Server> server_;
  std::thread thread_;
  std::unique_ptr<fit::Connection> connection_;
};

class EchoCall final : public fit::PendingCall {
 public:
  void Start(fit::Connection& connection, std::uint64_t number) {
    done_ = false;
    std::memcpy(bytes_.data(), &number, sizeof(number));
    std::memcpy(bytes_.data() + kBytes - sizeof(number), &number, sizeof(number));
    absl::Status started = connection.Start(fit::wire::Opcode::kOpenSpace, bytes_, {},
                                            {MonotonicNs() + 10'000'000'000}, *this);
    ASHLAR_CHECK(started.ok(), "{}", std::string(started.message()));
  }
  void OnDone(const fit::CallResult& result) override {
    ASHLAR_CHECK(result.status.ok(), "{}", std::string(result.status.message()));
    ASHLAR_CHECK(result.payload.size() == kBytes && std::memcmp(result.payload.data(), bytes_.data(), kBytes) == 0,
                 "an answer to another call");
  }
  void OnReleased() override { done_ = true; }
  bool done() const { return done_; }

 private:
  std::array<std::byte, kBytes> bytes_{};
  bool done_ = true;
};

double Microseconds(std::uint64_t from_ns) { return static_cast<double>(MonotonicNs() - from_ns) / 1000; }

void RunPingPong(Harness& harness, const char* metric, Wait wait, unsigned server_cpu, std::span<const std::byte> pages) {
  if (!harness.Wants(metric)) return;
  const std::uint64_t turns = harness.quick() ? 5'000 : 30'000;
  FitPair ours(wait, server_cpu);
  RawTcp raw(wait, server_cpu, pages, kBytes);
  EchoCall call;
  std::array<std::byte, kBytes> answer;
  harness.Compare({.metric = metric, .fabric = "tcp", .unit = "us", .floor = "raw tcp 40 B / 64 B",
                   .fair = "raw has no deadline, checksum or resend, and 168 B fewer per call"},
                  [&] {
                    std::vector<double> times;
                    for (std::uint64_t turn = 0; turn < turns; ++turn) {
                      const std::uint64_t from_ns = MonotonicNs();
                      call.Start(ours.connection(), turn);
                      while (!call.done()) ours.Turn();
                      times.push_back(Microseconds(from_ns));
                    }
                    return times;
                  },
                  [&] {
                    std::vector<double> times;
                    for (std::uint64_t turn = 0; turn < turns; ++turn) {
                      const std::uint64_t from_ns = MonotonicNs();
                      raw.Ask(turn % 16);
                      raw.TakeAnswer(answer.data());
                      times.push_back(Microseconds(from_ns));
                    }
                    return times;
                  });
}

void RunBatched(Harness& harness, unsigned server_cpu, std::span<const std::byte> pages) {
  constexpr const char* kMetric = "tcp_rpc_64_batched";
  if (!harness.Wants(kMetric)) return;
  const std::uint64_t turns = harness.quick() ? 50'000 : 300'000;
  FitPair ours(Wait::kSpinning, server_cpu);
  RawTcp raw(Wait::kSpinning, server_cpu, pages, kBytes);
  std::array<EchoCall, kDepth> calls;
  std::array<std::byte, kBytes> answer;
  const auto rate = [](std::uint64_t count, std::uint64_t from_ns) {
    return std::vector<double>{static_cast<double>(count) * 1e6 / Microseconds(from_ns)};
  };
  harness.Compare({.metric = kMetric, .fabric = "tcp", .unit = "per_s", .floor = "raw tcp 40 B / 64 B, one in flight",
                   .fair = "32 calls in flight against 1"},
                  [&] {
                    std::uint64_t started = 0;
                    const std::uint64_t from_ns = MonotonicNs();
                    bool busy = true;
                    while (busy) {
                      busy = false;
                      for (EchoCall& call : calls) {
                        if (call.done() && started < turns) call.Start(ours.connection(), started++);
                        busy |= !call.done();
                      }
                      ours.Turn();
                    }
                    return rate(turns, from_ns);
                  },
                  [&] {
                    const std::uint64_t from_ns = MonotonicNs();
                    for (std::uint64_t turn = 0; turn < turns / 4; ++turn) {
                      raw.Ask(turn % 16);
                      raw.TakeAnswer(answer.data());
                    }
                    return rate(turns / 4, from_ns);
                  });
}

}  // namespace

void RunCalls(Harness& harness, std::span<const std::byte> pages) {
  RunPingPong(harness, "tcp_rpc_64", Wait::kSpinning, 1, pages);
  RunPingPong(harness, "tcp_rpc_64_blocking", Wait::kBlocking, 0, pages);
  RunBatched(harness, 1, pages);
}

}  // namespace ashlar::bench
