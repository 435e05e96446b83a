#include "cli/stats.h"

#include "gtest/gtest.h"
#include "tests/unit/cli/fake_cluster.h"

namespace ashlar::cli {
namespace {

TEST(Stats, AreGroupedOneLineANameWithoutZeros) {
  EXPECT_EQ(RenderStats(FakePnodeStats(), false, ""), R"(faults
  faults_total         first_touch 61440   victim 1201   remote 19353
pages
  evicted_pages_total  20554
bytes
  fetched_bytes_total  75.6 MiB
fit
  fit_reconnect_total  m1 1
latency and sizes    count     p50     p99   max
fault_wire_ns          101  8.2 us  8.2 us  1 ms
)");
}

TEST(Stats, AllShowsWhatIsZero) {
  EXPECT_NE(RenderStats(FakePnodeStats(), true, "").find("duplicate 0"), std::string::npos);
  EXPECT_EQ(RenderStats({}, true, "  "), "  nothing counted yet\n");
}

TEST(Stats, EveryNameHasAGroup) {
  EXPECT_EQ(GroupOf("faults_total"), "faults");
  EXPECT_EQ(GroupOf("written_back_pages_total"), "pages");
  EXPECT_EQ(GroupOf("written_back_bytes_total"), "bytes");
  EXPECT_EQ(GroupOf("pool_used_bytes"), "pool");
  EXPECT_EQ(GroupOf("log_used_bytes"), "log");
  EXPECT_EQ(GroupOf("fit_calls_total"), "fit");
  EXPECT_EQ(GroupOf("fabric_bytes_total"), "fabric");
  EXPECT_EQ(GroupOf("replica_append_pages_total"), "replicas");
  EXPECT_EQ(GroupOf("children"), "other");
  EXPECT_EQ(GroupOf(""), "other");
}

TEST(Stats, AProgramIsFoundByNamePidOrSpace) {
  const control::ProgramStats program{.program = SpaceId(0xab), .name = "sort", .pid = 12};
  EXPECT_TRUE(IsProgram(program, "sort"));
  EXPECT_TRUE(IsProgram(program, "12"));
  EXPECT_TRUE(IsProgram(program, "00000000000000ab"));
  EXPECT_FALSE(IsProgram(program, "1"));
  EXPECT_FALSE(IsProgram(program, "sor"));
}

TEST(Stats, JsonHoldsLabelsAndBuckets) {
  Json object = Json::Object();
  SetStatsJson(FakePnodeStats(), &object);
  const std::string text = object.ToString();
  EXPECT_TRUE(IsJson(text));
  for (const char* part : {R"("source": "first_touch")", R"("value": 61440)", R"("count": 101)", R"("max": 1000000)", R"("upper_bound":)"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
}

}  // namespace
}  // namespace ashlar::cli
