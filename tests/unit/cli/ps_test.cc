#include "cli/ps.h"

#include "gtest/gtest.h"
#include "tests/unit/cli/fake_cluster.h"

namespace ashlar::cli {
namespace {

config::Node P1() {
  config::Node node;
  node.id = "p1";
  node.role = config::NodeRole::kPnode;
  return node;
}

TEST(Ps, ATableWithChildrenAndReasonsBelow) {
  const config::Node node = P1();
  control::ProgramInfo killed = FakeProgram();
  killed.pid = 9;
  killed.state = control::ProgramState::kKilled;
  killed.state_reason = "m1 was away for 60 s";
  killed.children.clear();
  const ProgramLists lists = {{&node, std::vector{FakeProgram(), killed}}};
  EXPECT_EQ(RenderPs(lists, FakeProgram().started + absl::Seconds(90)),
            R"(PROGRAM      PID  PNODE  STATE     LIMIT  RESIDENT  STAGED   REMOTE  LOCAL-ONLY    PEAK     STARTED
word_count  4711  p1     running  64 MiB    60 MiB   3 MiB  200 MiB       2 MiB  61 MiB  1m 30s ago
word_count     9  p1     killed   64 MiB    60 MiB   3 MiB  200 MiB       2 MiB  61 MiB  1m 30s ago
pid 4711 has child 4712 sh: local (it ran exec: an ordinary process)
pid 9 killed: m1 was away for 60 s
)");
}

TEST(Ps, NothingIsSaidOfProgramsNobodyCouldBeAskedFor) {
  const config::Node node = P1();
  EXPECT_EQ(RenderPs({{&node, std::vector<control::ProgramInfo>()}}, absl::Now()), "no programs\n");
  EXPECT_EQ(RenderPs({{&node, absl::UnavailableError("away")}}, absl::Now()), "");
  EXPECT_NE(AwayWords(ProgramLists{{&node, absl::UnavailableError("away")}}).find("p1 does not answer: away"), std::string::npos);
}

TEST(Ps, JsonHoldsEveryField) {
  const config::Node node = P1();
  const std::string text = PsJson({{&node, std::vector{FakeProgram()}}, {&node, absl::UnavailableError("x")}}).ToString();
  EXPECT_TRUE(IsJson(text));
  for (const char* part : {R"("schema": "ashlar.ps/1")", R"("program": "00000000000000ab")", R"("limit_bytes": 67108864)", R"("name": "sh")",
                           R"("mode": "local")", R"("peak_resident_bytes": 63963136)", R"("error": "x")"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
}

}  // namespace
}  // namespace ashlar::cli
