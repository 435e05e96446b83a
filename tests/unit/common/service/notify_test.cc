#include "common/service/notify.h"

#include "gmock/gmock.h"
#include "tests/unit/common/service/notify_socket.h"

namespace ashlar::service {
namespace {

using testing::ElementsAre;

TEST(Notify, SaysReadyStoppingAndStatusInSystemdsWords) {
  NotifySocket systemd;
  NotifyStatus("recovering 61 %");
  NotifyReady("pool 4 GiB");
  NotifyWatchdog();
  NotifyStopping("draining");
  EXPECT_THAT(systemd.Take(), ElementsAre("STATUS=recovering 61 %", "READY=1\nSTATUS=pool 4 GiB", "WATCHDOG=1",
                                          "STOPPING=1\nSTATUS=draining"));
}

TEST(Notify, ALineBreakInTheStatusIsNoSecondField) {
  NotifySocket systemd;
  NotifyStatus("bad\nREADY=1\rx");
  EXPECT_THAT(systemd.Take(), ElementsAre("STATUS=bad READY=1 x"));
}

TEST(Notify, WithoutSystemdNothingHappens) {
  ScopedVariable none("NOTIFY_SOCKET", std::nullopt);
  NotifyReady("x");
}

}  // namespace
}  // namespace ashlar::service
