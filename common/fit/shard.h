// One loop of the data path: its device, completion queue, timers, connections to servers and servers to clients. No lock:
// everything made from a shard is used on its thread only, which is whoever calls Poll. Other threads use Submit.
//
// The pnode's fault thread owns a shard and polls it between faults; mnode and snode give one a thread by Run.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/fabric/contract.h"
#include "common/telemetry/stat_list.h"

namespace ashlar::fit {

struct ShardOptions {
  std::uint16_t index = 0;
  NodeId node;
  Incarnation incarnation;
  int queue_depth = 16384;
  // How long Run polls before it sleeps; 0 = never spins. On two CPUs sharing with the peers 0 is right.
  std::uint64_t spin_ns = 0;
  const Clock* clock = &Clock::Real();  // a seam for tests
};

class Shard {
 public:
  static absl::StatusOr<std::unique_ptr<Shard>> Create(fabric::Device& device, const ShardOptions& options);
  virtual ~Shard() = default;

  virtual const ShardOptions& options() const = 0;
  virtual fabric::Device& device() = 0;
  virtual fabric::Domain& domain() = 0;

  // Memory that calls may name in slices (bulk out, READ targets). On the shard's thread.
  virtual absl::StatusOr<std::unique_ptr<fabric::Region>> Register(std::span<std::byte> bytes) = 0;

  // Completions, requests, timers, submitted functions, file descriptors; then posts what was gathered. Never blocks.
  // Returns how many things happened.
  virtual int Poll() = 0;
  // To sleep: Arm(), Poll() once more; if 0, event_fd() becomes readable when there is work. Also wake at NextTimerNs().
  virtual void Arm() = 0;
  virtual int event_fd() const = 0;
  virtual std::uint64_t NextTimerNs() const = 0;  // MonotonicNs; 0 = none

  // Any thread: runs `work` inside the next Poll. Wakes a sleeping shard.
  virtual void Submit(absl::AnyInvocable<void()> work) = 0;
  // Shard's thread: runs `work` once at `at_ns` or a tick (1 ms) later.
  virtual void At(std::uint64_t at_ns, absl::AnyInvocable<void()> work) = 0;
  // Shard's thread: calls `on_ready` in Poll whenever `fd` is readable (level-triggered), and ends that.
  virtual absl::Status AddFd(int fd, absl::AnyInvocable<void()> on_ready) = 0;
  virtual void RemoveFd(int fd) = 0;

  // The loop of a thread of its own: polls, spins, sleeps, until Stop. `on_turn` (may be empty) runs once a turn and at
  // least each second: the place to feed a watchdog.
  virtual void Run(absl::AnyInvocable<void()> on_turn) = 0;
  virtual void Stop() = 0;  // any thread

  virtual void CollectStats(StatList& stats) const = 0;  // any thread
};

}  // namespace ashlar::fit
