#include "common/service/data_thread.h"

#include <pthread.h>
#include <unistd.h>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "tests/unit/common/service/notify_socket.h"

namespace ashlar::service {
namespace {

TEST(DataThread, RunsUnderItsNameUntilItIsStopped) {
  absl::Notification stop;
  std::string name;
  {
    const DataThread thread(
        "ashlar-test",
        [&](const std::function<void()>&) {
          char own[16] = {};
          ::pthread_getname_np(::pthread_self(), own, sizeof(own));
          name = own;
          stop.WaitForNotification();
        },
        [&] { stop.Notify(); });
  }
  EXPECT_EQ(name, "ashlar-test");
}

TEST(DataThread, ATurnFeedsTheWatchdog) {
  NotifySocket systemd;
  ScopedVariable allowed("WATCHDOG_USEC", "6000000");
  ScopedVariable whose("WATCHDOG_PID", std::to_string(::getpid()));
  { const DataThread thread("ashlar-test", [](const std::function<void()>& on_turn) { on_turn(); }, [] {}); }
  EXPECT_THAT(systemd.Take(), testing::ElementsAre("WATCHDOG=1"));
}

}  // namespace
}  // namespace ashlar::service
