#include "common/base/clock.h"

#include <ctime>

namespace ashlar {
namespace {

class MonotonicClock : public Clock {
 public:
  std::uint64_t NowNs() const override { return MonotonicNs(); }
};

}  // namespace

std::uint64_t MonotonicNs() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

const Clock& Clock::Real() {
  static const MonotonicClock clock;
  return clock;
}

}  // namespace ashlar
