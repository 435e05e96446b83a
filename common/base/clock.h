// Time as a seam: code that waits or measures takes a Clock, so that tests can move it.
#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace ashlar {

// Nanoseconds of CLOCK_MONOTONIC. The one for deadlines and latencies; thread-safe.
std::uint64_t MonotonicNs();

class Clock {
 public:
  virtual ~Clock() = default;
  virtual std::uint64_t NowNs() const = 0;  // monotone

  static const Clock& Real();
};

// A clock that stands still until told. One thread at a time.
class ManualClock : public Clock {
 public:
  explicit ManualClock(std::uint64_t start_ns = 1'000'000'000) : now_ns_(start_ns) {}
  std::uint64_t NowNs() const override { return now_ns_; }
  void Advance(absl::Duration by) { now_ns_ += static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(by)); }

 private:
  std::uint64_t now_ns_;
};

}  // namespace ashlar
