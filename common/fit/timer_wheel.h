// Hierarchical timer wheel: 512 slots of 1 ms, then 128 of 512 ms. Arming and cancelling are a few pointer writes; empty
// it costs nothing. A timer fires at the first tick at or after its time, never before; later than the horizon (65 s) it
// is looked at again when the horizon comes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/functional/any_invocable.h"

namespace ashlar::fit {

class TimerWheel;

// Armed in at most one wheel; leaves it when destroyed, or when it fires.
class Timer {
 public:
  explicit Timer(absl::AnyInvocable<void()> on_fire) : on_fire_(std::move(on_fire)) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() { Cancel(); }

  void SetCallback(absl::AnyInvocable<void()> on_fire) { on_fire_ = std::move(on_fire); }
  bool armed() const { return wheel_ != nullptr; }
  void Cancel();

 private:
  friend class TimerWheel;
  Timer() = default;  // a list's head
  Timer* previous_ = this;
  Timer* next_ = this;
  std::uint64_t tick_ = 0;
  TimerWheel* wheel_ = nullptr;
  absl::AnyInvocable<void()> on_fire_;
};

class TimerWheel {
 public:
  static constexpr std::uint64_t kTickNs = 1'000'000;

  explicit TimerWheel(std::uint64_t now_ns) : current_(now_ns / kTickNs) {}
  ~TimerWheel();
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  void Arm(Timer& timer, std::uint64_t at_ns);  // an armed timer moves
  // Fires what is due. A callback may arm and cancel any timer, its own included, but not destroy its own.
  int Advance(std::uint64_t now_ns);
  // No timer is due before that; 0 = empty. Exact within the first 512 ms, else the start of the coarse slot.
  std::uint64_t NextNs() const;
  std::size_t size() const { return size_; }

 private:
  friend class Timer;
  static constexpr std::uint64_t kFine = 512, kCoarse = 128, kFineBits = 9;

  void Insert(Timer& timer);
  static void Link(Timer& head, Timer& timer);
  static void Unlink(Timer& timer);
  void Cascade();
  int Fire(Timer& head);

  Timer fine_[kFine];
  Timer coarse_[kCoarse];
  std::uint64_t current_;  // tick up to which everything fired
  std::size_t size_ = 0;
};

}  // namespace ashlar::fit
