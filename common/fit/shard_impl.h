// The one implementation of Shard, with what connections and servers need of it: completions by endpoint, timers, a look
// at links that are being set up or drained in each turn, and a flush at the end of it.
//
// Threads: the shard's only, except Submit, Stop and CollectStats.
#pragma once

#include <array>
#include <atomic>
#include <list>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/unique_fd.h"
#include "common/fit/shard.h"
#include "common/fit/submit_queue.h"
#include "common/fit/timer_wheel.h"
#include "common/telemetry/counter.h"

namespace ashlar::fit {

// What an endpoint's owner does in a turn. A member may detach any other, and itself, while it is called.
class TurnMember {
 public:
  virtual ~TurnMember() = default;
  virtual void OnCompletion(const fabric::Completion& completion) = 0;
  virtual int Tick() = 0;    // each turn, while watched; how many things happened
  virtual void Flush() = 0;  // the end of a turn in which it asked for it
};

class ShardImpl final : public Shard {
 public:
  // There is no other implementation: what Connection and Server are created with is this.
  static ShardImpl& From(Shard& shard) { return static_cast<ShardImpl&>(shard); }
  static absl::StatusOr<std::unique_ptr<ShardImpl>> Create(fabric::Device& device, const ShardOptions& options);
  ~ShardImpl() override;

  const ShardOptions& options() const override { return options_; }
  fabric::Device& device() override { return device_; }
  fabric::Domain& domain() override { return *domain_; }
  absl::StatusOr<std::unique_ptr<fabric::Region>> Register(std::span<std::byte> bytes) override;
  int Poll() override;
  void Arm() override;
  int event_fd() const override { return epoll_.get(); }
  std::uint64_t NextTimerNs() const override { return wheel_.NextNs(); }
  void Submit(absl::AnyInvocable<void()> work) override { submitted_->Submit(std::move(work)); }
  void At(std::uint64_t at_ns, absl::AnyInvocable<void()> work) override;
  absl::Status AddFd(int fd, absl::AnyInvocable<void()> on_ready) override;
  void RemoveFd(int fd) override;
  void Run(absl::AnyInvocable<void()> on_turn) override;
  void Stop() override;
  void CollectStats(StatList& stats) const override;

  fabric::CompletionQueue& queue() { return *queue_; }
  TimerWheel& wheel() { return wheel_; }
  std::uint64_t now_ns() const { return options_.clock->NowNs(); }
  // At most a turn old, for what needs no better: reading the clock costs as much as a checksum.
  std::uint64_t turn_ns() {
    if (!in_turn_) return now_ns();
    if (turn_ns_ == 0) turn_ns_ = now_ns();
    return turn_ns_;
  }
  const std::shared_ptr<SubmitQueue>& submit_queue() { return submitted_; }

  void Attach(fabric::EndpointId endpoint, TurnMember& member) { members_[endpoint] = &member; }
  void Detach(fabric::EndpointId endpoint);
  void Watch(TurnMember& member) { watched_.push_back(&member); }
  void Unwatch(TurnMember& member);
  void WantFlush(TurnMember& member) { to_flush_.push_back(&member); }  // at most once a turn
  void ForgetFlush(TurnMember& member);
  // At the end of this turn, or of the next when called between two.
  void Defer(absl::AnyInvocable<void()> work) { deferred_.push_back(std::move(work)); }

 private:
  struct OneShot;
  struct FdWatch {
    absl::AnyInvocable<void()> on_ready;
  };

  ShardImpl(fabric::Device& device, const ShardOptions& options);
  int PollCompletions();
  void ArmQueue();
  int PollFds(std::uint64_t wait_ns);  // descriptors that are ready, after a sleep of at most that
  int TickWatched();
  void FlushAll();
  int RunDeferred();
  void Sleep();

  static constexpr int kBatch = 64;
  static constexpr int kMaxBatches = 16;                   // then timers and others get their turn
  static constexpr std::uint64_t kFdPeriodNs = 50'000;     // a spinning shard looks at its fds that often
  static constexpr std::uint64_t kMaxSleepNs = 1'000'000'000;

  fabric::Device& device_;
  const ShardOptions options_;
  std::unique_ptr<fabric::Domain> domain_;
  std::unique_ptr<fabric::CompletionQueue> queue_;
  UniqueFd epoll_;
  std::shared_ptr<SubmitQueue> submitted_;
  std::atomic<bool> stopping_{false};

  TimerWheel wheel_;
  std::list<std::unique_ptr<OneShot>> one_shots_;
  absl::flat_hash_map<fabric::EndpointId, TurnMember*> members_;
  fabric::EndpointId last_endpoint_;  // of the newest completion: usually the next one's too
  TurnMember* last_member_ = nullptr;
  std::vector<TurnMember*> watched_;  // nullptr: gone in the middle of a turn
  std::vector<TurnMember*> to_flush_;
  std::vector<absl::AnyInvocable<void()>> deferred_;
  absl::flat_hash_map<int, std::shared_ptr<FdWatch>> fds_;
  bool in_turn_ = false;
  std::uint64_t turn_ns_ = 0;  // 0: not read in this turn
  std::uint64_t fds_seen_ns_ = 0;
  bool fds_due_ = true;
  std::array<fabric::Completion, kBatch> completions_;

  Counter turns_, sleeps_, spin_ns_, completions_unknown_;
};

}  // namespace ashlar::fit
