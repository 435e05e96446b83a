#include "common/service/watchdog.h"

#include <unistd.h>

#include "gmock/gmock.h"
#include "tests/unit/common/service/notify_socket.h"

namespace ashlar::service {
namespace {

TEST(Watchdog, SpeaksAtMostEveryThirdOfTheAllowedTime) {
  NotifySocket systemd;
  ScopedVariable allowed("WATCHDOG_USEC", "6000000");
  ScopedVariable whose("WATCHDOG_PID", std::to_string(::getpid()));
  ManualClock clock;
  Watchdog watchdog(clock);
  EXPECT_EQ(watchdog.feed_period_ns(), 2'000'000'000u);
  for (int i = 0; i < 100; ++i) watchdog.Feed();
  EXPECT_EQ(systemd.Take().size(), 1u);
  clock.Advance(absl::Milliseconds(1999));
  watchdog.Feed();
  EXPECT_EQ(systemd.Take().size(), 0u);
  clock.Advance(absl::Milliseconds(1));
  watchdog.Feed();
  EXPECT_THAT(systemd.Take(), testing::ElementsAre("WATCHDOG=1"));
}

TEST(Watchdog, NeverWaitsLongerThanThreeSeconds) {
  ScopedVariable allowed("WATCHDOG_USEC", "60000000");
  ScopedVariable whose("WATCHDOG_PID", std::nullopt);
  EXPECT_EQ(Watchdog().feed_period_ns(), 3'000'000'000u);
}

TEST(Watchdog, IsOffWithoutSystemdOrForAnotherProcess) {
  NotifySocket systemd;
  ScopedVariable none("WATCHDOG_USEC", std::nullopt);
  Watchdog off;
  off.Feed();
  ScopedVariable allowed("WATCHDOG_USEC", "6000000");
  ScopedVariable whose("WATCHDOG_PID", "1");
  Watchdog other;
  other.Feed();
  EXPECT_EQ(off.feed_period_ns(), 0u);
  EXPECT_EQ(other.feed_period_ns(), 0u);
  EXPECT_TRUE(systemd.Take().empty());
}

}  // namespace
}  // namespace ashlar::service
