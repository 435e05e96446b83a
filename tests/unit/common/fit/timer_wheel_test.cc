#include "common/fit/timer_wheel.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

namespace ashlar::fit {
namespace {

constexpr std::uint64_t kMs = 1'000'000;

TEST(TimerWheel, FiresNeverEarlyAndAtMostATickLate) {
  std::mt19937_64 random(7);
  std::uint64_t now = 12'345'678'901;
  TimerWheel wheel(now);
  struct Item {
    std::uint64_t at = 0, fired = 0;
    std::unique_ptr<Timer> timer;
  };
  std::vector<Item> items(3000);
  for (Item& item : items) {
    item.at = now + random() % (random() % 2 ? 600 * kMs : 70'000 * kMs);
    item.timer = std::make_unique<Timer>([&item, &now] { item.fired = now; });
    wheel.Arm(*item.timer, item.at);
  }
  std::uint64_t end = now + 71'000 * kMs;
  while (now < end) {
    now += kMs;
    wheel.Advance(now);
  }
  for (const Item& item : items) {
    ASSERT_GE(item.fired, item.at);
    ASSERT_LE(item.fired, item.at + 2 * kMs);  // one tick, and the step of this loop
  }
  EXPECT_EQ(wheel.size(), 0u);
  EXPECT_EQ(wheel.NextNs(), 0u);
}

TEST(TimerWheel, NextIsNeverLateAndExactWhenNear) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 300; ++round) {
    std::uint64_t now = random() % (1'000'000 * kMs);
    TimerWheel wheel(now);
    bool fired = false;
    Timer timer([&] { fired = true; });
    std::uint64_t at = now + 1 + random() % (round % 2 ? 500 * kMs : 100'000 * kMs);
    wheel.Arm(timer, at);
    int wakes = 0;
    while (!fired) {
      std::uint64_t next = wheel.NextNs();
      ASSERT_NE(next, 0u);
      ASSERT_LE(next, at + kMs);
      ASSERT_GT(next, now);
      now = next;
      wheel.Advance(now);
      ASSERT_LT(++wakes, 5);
    }
    EXPECT_GE(now, at);
  }
}

TEST(TimerWheel, CancelAndRearmInsideCallbacks) {
  TimerWheel wheel(0);
  int count = 0;
  Timer victim([&] { ADD_FAILURE() << "was cancelled"; });
  Timer timer([] {});
  timer.SetCallback([&] {
    victim.Cancel();
    if (++count < 3) wheel.Arm(timer, 0);  // in the past: the next tick
  });
  wheel.Arm(timer, 5 * kMs);
  wheel.Arm(victim, 5 * kMs);
  wheel.Advance(5 * kMs);
  EXPECT_EQ(count, 1);
  wheel.Advance(6 * kMs);
  EXPECT_EQ(count, 2);
  wheel.Advance(1000 * kMs);
  EXPECT_EQ(count, 3);
  EXPECT_FALSE(timer.armed());
}

TEST(TimerWheel, ADestroyedTimerDoesNotFire) {
  TimerWheel wheel(0);
  {
    Timer timer([&] { ADD_FAILURE(); });
    wheel.Arm(timer, 3 * kMs);
    EXPECT_EQ(wheel.size(), 1u);
  }
  EXPECT_EQ(wheel.size(), 0u);
  wheel.Advance(10 * kMs);
}

TEST(TimerWheel, SleepingLongCostsNothingAndLosesNothing) {
  TimerWheel wheel(0);
  wheel.Advance(100'000'000 * kMs);
  bool fired = false;
  Timer timer([&] { fired = true; });
  wheel.Arm(timer, 100'000'000 * kMs + 10 * kMs);
  wheel.Advance(100'000'000 * kMs + 9 * kMs);
  EXPECT_FALSE(fired);
  wheel.Advance(200'000'000 * kMs);
  EXPECT_TRUE(fired);
}

}  // namespace
}  // namespace ashlar::fit
