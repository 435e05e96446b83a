// Tells systemd that the thread that does the work still does. Fed by that thread and by no timer, so that a stuck loop
// is noticed; a daemon that misses its time is ended by systemd and started anew.
//
// Threads: only the thread whose progress matters.
#pragma once

#include <cstdint>

#include "common/base/clock.h"

namespace ashlar::service {

class Watchdog {
 public:
  // The time systemd allows comes from WATCHDOG_USEC; without it, Feed does nothing.
  explicit Watchdog(const Clock& clock = Clock::Real());

  // Cheap enough for every turn of a loop: it speaks at most every third of the allowed time, and every 3 s at the latest.
  void Feed();

  // How long the loop may sleep between two turns at most; 0 = any time.
  std::uint64_t feed_period_ns() const { return period_ns_; }

 private:
  const Clock& clock_;
  std::uint64_t period_ns_ = 0;  // 0 = off
  std::uint64_t last_ns_ = 0;    // 0 = never fed
};

}  // namespace ashlar::service
