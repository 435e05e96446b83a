#include "common/telemetry/log.h"

#include <gtest/gtest.h>

namespace ashlar::log {
namespace {

TEST(Log, WritesOneLineWithNameAndValues) {
  Init("ashlar-test t1", Level::kInfo);
  testing::internal::CaptureStderr();
  Debug("test: hidden value={}", 1);
  Warn("test: shown value={} status={}", 2, absl::NotFoundError("page"));
  const std::string lines = testing::internal::GetCapturedStderr();
  EXPECT_NE(lines.find("ashlar-test t1: test: shown value=2 status=NOT_FOUND: page\n"), std::string::npos) << lines;
  EXPECT_EQ(lines.find("hidden"), std::string::npos);
}

TEST(RateLimit, CountsWhatItLeavesOut) {
  RateLimit limit(1000);
  EXPECT_TRUE(limit.Allow(5000));
  EXPECT_FALSE(limit.Allow(5500));
  EXPECT_FALSE(limit.Allow(5999));
  EXPECT_TRUE(limit.Allow(6000));
  EXPECT_EQ(limit.TakeLeftOut(), 2u);
  EXPECT_EQ(limit.TakeLeftOut(), 0u);
}

TEST(ParseLevel, KnowsFourWords) {
  Level level = Level::kInfo;
  EXPECT_TRUE(ParseLevel("error", &level));
  EXPECT_EQ(level, Level::kError);
  EXPECT_FALSE(ParseLevel("loud", &level));
}

}  // namespace
}  // namespace ashlar::log
