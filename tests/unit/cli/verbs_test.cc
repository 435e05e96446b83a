// The verbs against control servers on real sockets.
#include "cli/verbs.h"

#include <unistd.h>

#include <fstream>

#include "absl/time/clock.h"
#include "gtest/gtest.h"
#include "tests/unit/cli/fake_cluster.h"

namespace ashlar::cli {
namespace {

bool Says(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Verbs, StatusIsZeroOnlyWhenAllIsWell) {
  FakeCluster cluster;
  Outcome outcome = RunStatus(cluster.OptionsFor(Verb::kStatus));
  EXPECT_EQ(outcome.exit_code, 0) << outcome.out;
  EXPECT_TRUE(Says(outcome.out, "fake  OK  3 of 3 nodes answer, 1 program\n")) << outcome.out;
  cluster.SetHealth("m1", control::Health::kStarting);
  EXPECT_EQ(RunStatus(cluster.OptionsFor(Verb::kStatus)).exit_code, 1);
  cluster.Stop("s1");
  outcome = RunStatus(cluster.OptionsFor(Verb::kStatus));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(Says(outcome.out, "NODE-AWAY  s1 does not answer")) << outcome.out;
  EXPECT_EQ(RunStatus(cluster.OptionsFor(Verb::kStatus, "p1")).exit_code, 0);
}

TEST(Verbs, AnUnknownNodeEndsWith64AndTheNearest) {
  FakeCluster cluster;
  const Outcome outcome = RunStatus(cluster.OptionsFor(Verb::kStatus, "m9"));
  EXPECT_EQ(outcome.exit_code, 64);
  EXPECT_TRUE(Says(outcome.err, "no node \"m9\"")) << outcome.err;
}

TEST(Verbs, ANodeThatHangsIsShownWithinTheTimeout) {
  FakeCluster cluster;
  cluster.BlockStatus();
  Options options = cluster.OptionsFor(Verb::kStatus);
  options.common.timeout = absl::Milliseconds(200);
  const absl::Time begin = absl::Now();
  const Outcome outcome = RunStatus(options);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(5));
  EXPECT_EQ(outcome.exit_code, 1);
  EXPECT_TRUE(Says(outcome.out, "NODE-AWAY  p1 does not answer")) << outcome.out;
  EXPECT_TRUE(Says(outcome.out, "m1  mnode  ready")) << outcome.out;
}

TEST(Verbs, PsListsAndWithAllAlsoTheEnded) {
  FakeCluster cluster;
  Options options = cluster.OptionsFor(Verb::kPs);
  Outcome outcome = RunPs(options);
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_TRUE(Says(outcome.out, "word_count"));
  EXPECT_FALSE(Says(outcome.out, "killed"));
  options.all = true;
  EXPECT_TRUE(Says(RunPs(options).out, "pid 4000 killed: m1 was away for 60 s"));
  cluster.Stop("p1");
  outcome = RunPs(options);
  EXPECT_EQ(outcome.exit_code, 69);
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(Says(outcome.err, "p1 does not answer")) << outcome.err;
}

TEST(Verbs, StatsOfAllOfANodeAndOfAProgram) {
  FakeCluster cluster;
  const Outcome all = RunStats(cluster.OptionsFor(Verb::kStats));
  EXPECT_EQ(all.exit_code, 0) << all.err;
  EXPECT_TRUE(Says(all.out, "p1  pnode\n") && Says(all.out, "m1  mnode\n") && Says(all.out, "word_count  pid 4711 on p1")) << all.out;
  const Outcome node = RunStats(cluster.OptionsFor(Verb::kStats, "m1"));
  EXPECT_TRUE(Says(node.out, "pool_used_bytes  4 MiB")) << node.out;
  EXPECT_FALSE(Says(node.out, "p1"));
  for (const char* target : {"word_count", "4711", "00000000000000ab"}) {
    const Outcome program = RunStats(cluster.OptionsFor(Verb::kStats, target));
    EXPECT_EQ(program.exit_code, 0) << program.err;
    EXPECT_TRUE(Says(program.out, "remote 7")) << program.out;
    EXPECT_FALSE(Says(program.out, "first_touch"));
  }
  const Outcome none = RunStats(cluster.OptionsFor(Verb::kStats, "nonsense"));
  EXPECT_EQ(none.exit_code, 64);
  EXPECT_TRUE(Says(none.err, "no pnode runs, or remembers, a program of that name")) << none.err;
  cluster.Stop("p1");
  EXPECT_EQ(RunStats(cluster.OptionsFor(Verb::kStats, "4711")).exit_code, 69);
}

TEST(Verbs, StatsOfAProgramThatEnded) {
  FakeCluster cluster;
  const Outcome last = RunStats(cluster.OptionsFor(Verb::kStats, "sort"));
  EXPECT_EQ(last.exit_code, 0) << last.err;
  EXPECT_TRUE(Says(last.out, "sort  pid 4002 on p1  (ended)")) << last.out;
  EXPECT_FALSE(Says(last.out, "pid 4000")) << "an earlier one of the same name";
  EXPECT_TRUE(Says(RunStats(cluster.OptionsFor(Verb::kStats, "4000")).out, "sort  pid 4000 on p1  (ended)"));
  const Outcome running = RunStats(cluster.OptionsFor(Verb::kStats, "word_count"));
  EXPECT_FALSE(Says(running.out, "(ended)")) << "one of that name runs: " << running.out;
  EXPECT_FALSE(Says(RunStats(cluster.OptionsFor(Verb::kStats)).out, "(ended)"));
}

TEST(Verbs, JsonOfEachVerbIsValidAlsoWhenANodeIsAway) {
  FakeCluster cluster;
  for (bool away : {false, true}) {
    if (away) cluster.Stop("p1");
    for (const auto& [verb, run] : {std::pair{Verb::kStatus, &RunStatus}, std::pair{Verb::kPs, &RunPs}, std::pair{Verb::kStats, &RunStats}, std::pair{Verb::kVersion, &RunVersion}}) {
      Options options = cluster.OptionsFor(verb);
      options.common.json = true;
      const Outcome outcome = run(options);
      EXPECT_TRUE(IsJson(outcome.out));
      EXPECT_TRUE(Says(outcome.out, "\"schema\": \"ashlar."));
    }
  }
}

TEST(Verbs, TopologyCheckShowsEveryFault) {
  FakeCluster cluster;
  Options options{.verb = Verb::kTopologyCheck, .target = cluster.topology_file()};
  EXPECT_EQ(RunTopologyCheck(options).exit_code, 0);
  options.target = testing::TempDir() + "/check-bad.yaml";
  std::ofstream(options.target) << "version: 1\ncluser: x\nnods: []\n";
  const Outcome words = RunTopologyCheck(options);
  EXPECT_EQ(words.exit_code, 78);
  EXPECT_TRUE(Says(words.err, ":2:1: cluser: unknown key") && Says(words.err, ":3:1: nods: unknown key")) << words.err;
  options.common.json = true;
  const Outcome json = RunTopologyCheck(options);
  EXPECT_EQ(json.exit_code, 78);
  EXPECT_TRUE(IsJson(json.out));
  EXPECT_TRUE(Says(json.out, "\"ok\": false"));
  ::unlink(options.target.c_str());
}

}  // namespace
}  // namespace ashlar::cli
