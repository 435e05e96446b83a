#include <cstdlib>

#include "cli/options.h"
#include "gtest/gtest.h"

namespace ashlar::cli {
namespace {

Options Good(const std::vector<std::string>& words, bool terminal = false) {
  const ParsedOptions parsed = ParseOptions(words, terminal);
  EXPECT_FALSE(parsed.outcome.has_value()) << parsed.outcome->err;
  return parsed.options;
}

TEST(CliOptions, VerbsAndTheirTargets) {
  EXPECT_EQ(Good({"status"}).verb, Verb::kStatus);
  EXPECT_EQ(Good({"status", "m1"}).target, "m1");
  EXPECT_EQ(Good({"ps"}).verb, Verb::kPs);
  EXPECT_TRUE(Good({"ps", "-a"}).all);
  EXPECT_EQ(Good({"stats", "4711", "--all"}).target, "4711");
  EXPECT_EQ(Good({"topology", "check", "x.yaml"}).verb, Verb::kTopologyCheck);
  EXPECT_EQ(Good({"topology", "check", "x.yaml"}).target, "x.yaml");
  EXPECT_EQ(Good({"version"}).verb, Verb::kVersion);
}

TEST(CliOptions, CommonOptionsStandBeforeOrBehindTheVerb) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"--json", "--topology", "f", "--timeout", "500ms", "status"}, {"status", "--json", "--topology", "f", "--timeout", "500ms"}}) {
    const Options options = Good(words);
    EXPECT_TRUE(options.common.json);
    EXPECT_EQ(options.common.topology, "f");
    EXPECT_EQ(options.common.timeout, absl::Milliseconds(500));
  }
}

TEST(CliOptions, ColourOnATerminalUnlessToldOtherwise) {
  ::unsetenv("NO_COLOR");
  EXPECT_TRUE(Good({"status"}, true).common.style.color);
  EXPECT_FALSE(Good({"status"}, false).common.style.color);
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(Good({"status"}, true).common.style.color);
  ::unsetenv("NO_COLOR");
}

TEST(CliOptions, MistakesEndWith64AndNameTheNearestVerb) {
  struct Case {
    std::vector<std::string> words;
    std::string says;
  };
  const std::vector<Case> cases = {
      {{}, "subcommand"},
      {{"stauts"}, "did you mean \"status\"?"},
      {{"topologgy", "check", "x"}, "did you mean \"topology\"?"},
      {{"topology", "chekc", "x"}, "did you mean \"check\"?"},
      {{"frobnicate"}, "there is no verb \"frobnicate\""},
      {{"status", "m1", "m2"}, "m2"},
      {{"status", "--jsn"}, "--jsn"},
      {{"topology", "check"}, "FILE"},
      {{"status", "--timeout", "5"}, "has no unit"},
      {{"status", "--timeout", "2h"}, "--timeout"},
      {{"status", "--timeout", "0s"}, "--timeout"},
      {{"version", "--timeout", "2s"}, "asks no node"},
      {{"--timeout", "2s", "topology", "check", "x"}, "asks no node"},
  };
  for (const Case& one : cases) {
    const ParsedOptions parsed = ParseOptions(one.words, false);
    ASSERT_TRUE(parsed.outcome.has_value()) << one.says;
    EXPECT_EQ(parsed.outcome->exit_code, 64);
    EXPECT_NE(parsed.outcome->err.find(one.says), std::string::npos) << parsed.outcome->err;
    EXPECT_EQ(parsed.outcome->out, "");
  }
}

TEST(CliOptions, RunLeavesTheProgramsWordsAlone) {
  const Options options = Good({"run", "--cache", "64MiB", "--on", "p1", "--name", "n", "--", "sort", "--json", "--", "-h", "status"});
  EXPECT_EQ(options.verb, Verb::kRun);
  EXPECT_EQ(options.run.cache_bytes, 64u << 20);
  EXPECT_EQ(options.run.on, "p1");
  EXPECT_EQ(options.run.name, "n");
  EXPECT_EQ(options.run.command, (std::vector<std::string>{"sort", "--json", "--", "-h", "status"}));
  EXPECT_FALSE(options.common.json);
}

TEST(CliOptions, MistakesOfRunEndWith125WhichIsNoCodeOfAProgram) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"run"}, {"run", "--"}, {"run", "sort"}, {"run", "--cache", "64", "--", "x"}, {"run", "--cach", "64MiB", "--", "x"}, {"run", "--json", "--", "x"}}) {
    const ParsedOptions parsed = ParseOptions(words, false);
    ASSERT_TRUE(parsed.outcome.has_value());
    EXPECT_EQ(parsed.outcome->exit_code, 125) << parsed.outcome->err;
    EXPECT_NE(parsed.outcome->err, "");
  }
  EXPECT_EQ(ParseOptions({"run", "--help"}, false).outcome->exit_code, 0);
  EXPECT_EQ(ParseOptions({"status", "--", "x"}, false).outcome->exit_code, 64);
}

TEST(CliOptions, EveryVerbHasHelpWithAnExample) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{
           {"--help"}, {"run", "--help"}, {"status", "--help"}, {"ps", "-h"}, {"stats", "--help"}, {"topology", "check", "--help"}}) {
    const ParsedOptions parsed = ParseOptions(words, false);
    ASSERT_TRUE(parsed.outcome.has_value());
    EXPECT_EQ(parsed.outcome->exit_code, 0);
    EXPECT_NE(parsed.outcome->out.find("Example"), std::string::npos) << parsed.outcome->out;
  }
  EXPECT_EQ(ParseOptions({"--version"}, false).outcome->out, "ashlar " ASHLAR_VERSION "\n");
}

}  // namespace
}  // namespace ashlar::cli
