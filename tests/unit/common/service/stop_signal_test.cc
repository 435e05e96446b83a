#include "common/service/stop_signal.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <thread>

#include "gtest/gtest.h"

namespace ashlar::service {
namespace {

TEST(StopSignal, SigtermAndSigintStopWithExitZero) {
  for (const auto& [number, name] : {std::pair{SIGTERM, "SIGTERM"}, std::pair{SIGINT, "SIGINT"}}) {
    StopSignal stop;
    ASSERT_EQ(::kill(::getpid(), number), 0);
    const StopCause cause = stop.Wait();
    EXPECT_EQ(cause.why, name);
    EXPECT_EQ(cause.exit_code, 0);
  }
}

TEST(StopSignal, SighupDoesNotStop) {
  StopSignal stop;
  ASSERT_EQ(::kill(::getpid(), SIGHUP), 0);
  stop.Request("the log's disk failed", 74);
  const StopCause cause = stop.Wait();
  EXPECT_EQ(cause.why, "the log's disk failed");
  EXPECT_EQ(cause.exit_code, 74);
}

TEST(StopSignal, TheFirstOfManyCausesCounts) {
  StopSignal stop;
  std::thread worker([&] {
    stop.Request("first", 74);
    stop.Request("second", 69);
  });
  worker.join();
  EXPECT_EQ(stop.Wait().why, "first");
}

TEST(StopSignal, ARequestWakesAWaitingMainThread) {
  StopSignal stop;
  std::thread worker([&] { stop.Request("done", 3); });
  EXPECT_EQ(stop.Wait().exit_code, 3);
  worker.join();
}

TEST(StopSignal, AThreadMadeLaterDoesNotDieOfTheSignal) {
  StopSignal stop;
  std::thread worker([] { ::pthread_kill(::pthread_self(), SIGTERM); });
  worker.join();
  stop.Request("alive", 0);
  EXPECT_EQ(stop.Wait().why, "alive");
}

TEST(StopSignal, ASecondSignalEndsTheProcess) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    StopSignal stop;
    ::kill(::getpid(), SIGTERM);
    stop.Wait();
    ::kill(::getpid(), SIGTERM);
    ::_exit(0);  // not reached
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGTERM);
}

}  // namespace
}  // namespace ashlar::service
