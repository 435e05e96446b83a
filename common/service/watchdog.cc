#include "common/service/watchdog.h"

#include <systemd/sd-daemon.h>

#include <algorithm>

#include "common/service/notify.h"

namespace ashlar::service {

Watchdog::Watchdog(const Clock& clock) : clock_(clock) {
  std::uint64_t allowed_us = 0;
  if (::sd_watchdog_enabled(/*unset_environment=*/0, &allowed_us) <= 0) return;
  constexpr std::uint64_t kLongestUs = 3'000'000;
  period_ns_ = std::max<std::uint64_t>(1, std::min(allowed_us / 3, kLongestUs)) * 1000;
}

void Watchdog::Feed() {
  if (period_ns_ == 0) return;
  const std::uint64_t now_ns = clock_.NowNs();
  if (last_ns_ != 0 && now_ns - last_ns_ < period_ns_) return;
  last_ns_ = now_ns;
  NotifyWatchdog();
}

}  // namespace ashlar::service
