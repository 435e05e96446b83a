// Two endpoints of one backend joined in one process, each with its own queue, domain and memory, stepped by one thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/base/clock.h"
#include "common/fabric/chaos/fault_plan.h"
#include "common/fabric/contract.h"
#include "common/fabric/memory/network.h"

namespace ashlar::fabric::testing {

// A backend under test: its device, and how it is addressed.
struct Backend {
  std::unique_ptr<MemoryNetwork> network;  // memory only
  std::unique_ptr<chaos::FaultPlan> plan;  // chaos only
  std::unique_ptr<Device> device;
  std::string address;
  std::string nobody;  // an address where nobody listens
  bool one_sided = false;     // READ and WRITE take none of the target's threads
  bool emulated = false;      // in a guest without hardware support: fewer rounds
  bool checks_bounds = true;  // the target refuses what lies outside a window; else only the sender does
};
Backend MakeBackend(const std::string& name);
// An address of a soft RoCE or RDMA device, from ASHLAR_TEST_RDMA_ADDRESS; empty: there is none, and verbs is left out.
std::string RdmaAddress();
std::vector<std::string> BackendNames();

inline bool Ok(const Completion& completion) { return std::holds_alternative<Succeeded>(completion); }
inline const Succeeded& Success(const Completion& completion) { return std::get<Succeeded>(completion); }
inline const Failed& Failure(const Completion& completion) { return std::get<Failed>(completion); }
inline WrId WrIdOf(const Completion& completion) {
  return std::visit([](const auto& ended) { return ended.wr_id; }, completion);
}

inline std::vector<std::byte> Pattern(std::size_t size, unsigned seed = 1) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>((i * 7 + (i >> 8) * 13 + seed * 31) & 0xFF);
  return bytes;
}

class Side {
 public:
  static constexpr std::size_t kBytes = 4u << 20;

  Side(Device& device, int queue_depth) : memory_(kBytes) {
    domain = *device.OpenDomain();
    queue = *device.OpenQueue(queue_depth);
    region = *domain->Register(memory_);
  }

  // Polls once and keeps what came.
  void Poll() {
    Completion batch[32];
    const int count = queue->Poll(batch);
    for (int i = 0; i < count; ++i) completions.push_back(batch[i]);
  }
  std::byte* at(std::size_t offset) { return memory_.data() + offset; }
  void Fill(std::size_t offset, const std::vector<std::byte>& bytes) {
    if (!bytes.empty()) std::memcpy(at(offset), bytes.data(), bytes.size());
  }
  bool Holds(std::size_t offset, const std::vector<std::byte>& bytes) {
    return bytes.empty() || std::memcmp(at(offset), bytes.data(), bytes.size()) == 0;
  }
  Slice slice(std::uint64_t offset, std::uint32_t bytes) { return {.region = region.get(), .offset = offset, .bytes = bytes}; }

  std::vector<Completion> completions;

 private:
  std::vector<std::byte> memory_;

 public:
  std::unique_ptr<Domain> domain;
  std::unique_ptr<Region> region;
  std::unique_ptr<CompletionQueue> queue;
  std::unique_ptr<Endpoint> endpoint;
};

// How a test drives the world: both sides are polled until the condition holds; a condition that never comes fails.
template <typename Condition>
bool StepUntil(std::initializer_list<Side*> sides, Condition condition, std::uint64_t limit_ns = 5'000'000'000) {
  const std::uint64_t until = MonotonicNs() + limit_ns;
  while (!condition()) {
    for (Side* side : sides) side->Poll();
    if (MonotonicNs() > until) return condition();
  }
  return true;
}

class Conformance : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    backend_ = MakeBackend(GetParam());
    listener_ = *backend_.device->Listen(backend_.address);
    client_ = std::make_unique<Side>(*backend_.device, 4096);
    server_ = std::make_unique<Side>(*backend_.device, 4096);
  }

  // A connected pair; the sides keep their endpoints. False: not connected.
  bool Join(Side& client, Side& server, const EndpointOptions& options = {}) {
    const auto hello = Pattern(56, 3);
    auto connected = backend_.device->Connect(listener_->address(), *client.domain, *client.queue, options, hello, 5'000'000'000);
    if (!connected.ok()) return ADD_FAILURE() << connected.status(), false;
    client.endpoint = *std::move(connected);
    std::unique_ptr<PendingPeer> peer;
    StepUntil({&client}, [&] { return (peer = listener_->Accept()) != nullptr; });
    if (peer == nullptr) return ADD_FAILURE() << "nobody arrived", false;
    EXPECT_EQ(std::vector<std::byte>(peer->hello().begin(), peer->hello().end()), hello);
    auto accepted = peer->Accept(*server.domain, *server.queue, options, Pattern(20, 4));
    if (!accepted.ok()) return ADD_FAILURE() << accepted.status(), false;
    server.endpoint = *std::move(accepted);
    return StepUntil({&client, &server}, [&] {
      return client.endpoint->state() == EndpointState::kReady && server.endpoint->state() == EndpointState::kReady;
    });
  }
  bool Join(const EndpointOptions& options = {}) { return Join(*client_, *server_, options); }

  template <typename Condition>
  bool Step(Condition condition) {
    return StepUntil({client_.get(), server_.get()}, condition, backend_.emulated ? 30'000'000'000 : 5'000'000'000);
  }

  // Posts one request on the client and waits for its completion.
  Completion Run(WorkRequest request, std::vector<Slice> slices) {
    request.local = slices;
    request.signalled = true;
    const std::size_t before = client_->completions.size();
    const absl::Status posted = client_->endpoint->Post({&request, 1});
    EXPECT_TRUE(posted.ok()) << posted;
    EXPECT_TRUE(Step([&] { return client_->completions.size() > before; }));
    return client_->completions.size() > before ? client_->completions[before] : Completion{};
  }

  absl::Status PostReceive(Side& side, std::uint64_t wr_id, std::uint64_t offset, std::uint32_t bytes) {
    const Slice slice = side.slice(offset, bytes);
    const WorkRequest receive{.wr_id = WrId(wr_id), .op = Op::kReceive, .local = {&slice, 1}};
    return side.endpoint->Receive({&receive, 1});
  }

  void TearDown() override {
    for (auto& side : {client_.get(), server_.get()}) {
      if (side != nullptr) side->endpoint.reset();
    }
  }

  Backend backend_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Side> client_;
  std::unique_ptr<Side> server_;
};

}  // namespace ashlar::fabric::testing
