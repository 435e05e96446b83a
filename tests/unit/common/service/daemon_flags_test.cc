#include "common/service/daemon_flags.h"

#include <unistd.h>

#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/common/service/environment.h"

namespace ashlar::service {
namespace {

ParsedFlags Parse(std::vector<const char*> words) {
  words.insert(words.begin(), "ashlar-mnode");
  return ParseDaemonFlags(static_cast<int>(words.size()), words.data(),
                          {.program = "ashlar-mnode", .role = config::NodeRole::kMnode, .summary = "lends memory"});
}

TEST(DaemonFlags, TheUnitsCommandLine) {
  const ParsedFlags parsed = Parse({"--config", "/etc/x.yaml", "--id", "m1"});
  EXPECT_FALSE(parsed.exit_code.has_value());
  EXPECT_EQ(parsed.flags.config, "/etc/x.yaml");
  EXPECT_EQ(parsed.flags.id, "m1");
  EXPECT_FALSE(parsed.flags.check_config);
  EXPECT_FALSE(parsed.flags.log_level.has_value());
}

TEST(DaemonFlags, CheckConfigTakesAFileOrTheConfigAndNeedsNoId) {
  EXPECT_EQ(Parse({"--check-config", "lab.yaml", "--id", "m1"}).flags.config, "lab.yaml");
  EXPECT_TRUE(Parse({"--check-config", "lab.yaml"}).flags.check_config);
  const ParsedFlags default_file = Parse({"--config", "a.yaml", "--check-config"});
  EXPECT_FALSE(default_file.exit_code.has_value());
  EXPECT_TRUE(default_file.flags.check_config);
  EXPECT_EQ(default_file.flags.config, "a.yaml");
}

TEST(DaemonFlags, HelpAndVersionEndWithZero) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(Parse({"--version"}).exit_code, 0);
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "ashlar-mnode " ASHLAR_VERSION "\n");
  testing::internal::CaptureStdout();
  EXPECT_EQ(Parse({"--help"}).exit_code, 0);
  const std::string help = testing::internal::GetCapturedStdout();
  EXPECT_NE(help.find("Examples:"), std::string::npos);
  EXPECT_NE(help.find("ashlar-mnode --id m1"), std::string::npos) << help;
}

TEST(DaemonFlags, WrongOnesEndWith64AndWords) {
  for (const std::vector<const char*>& words :
       std::vector<std::vector<const char*>>{{}, {"--id"}, {"--idd", "m1"}, {"--id", "m1", "stray"}, {"--id", "m1", "--log-level", "loud"}}) {
    testing::internal::CaptureStderr();
    EXPECT_EQ(Parse(words).exit_code, 64);
    EXPECT_NE(testing::internal::GetCapturedStderr(), "");
  }
}

TEST(DaemonFlags, LogLevelIsParsed) {
  EXPECT_EQ(Parse({"--id", "m1", "--log-level", "debug"}).flags.log_level, log::Level::kDebug);
}

TEST(DaemonFlags, StateLivesWhereSystemdSaysElseAtHome) {
  {
    ScopedVariable systemd("STATE_DIRECTORY", "/var/lib/ashlar/m1");
    EXPECT_EQ(*DefaultStateDirectory("m1"), "/var/lib/ashlar/m1");
  }
  ScopedVariable none("STATE_DIRECTORY", std::nullopt);
  ScopedVariable xdg("XDG_STATE_HOME", "/home/x/state");
  EXPECT_EQ(*DefaultStateDirectory("m1"), ::geteuid() == 0 ? "/var/lib/ashlar/m1" : "/home/x/state/ashlar/m1");
}

}  // namespace
}  // namespace ashlar::service
