// configs/ against the schema: no key without its explanation, no explanation without its key.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/config/document.h"
#include "common/config/topology.h"
#include "common/config/topology_schema.h"

namespace ashlar::config {
namespace {

std::string ConfigPath(const std::string& name) { return absl::StrCat(ASHLAR_SOURCE_DIR, "/configs/", name); }

std::string ReadConfig(const std::string& name) {
  std::ifstream file(ConfigPath(name));
  return {std::istreambuf_iterator<char>(file), {}};
}

// "nodes[].log.path" → its values and the lines they stand on.
struct Use {
  std::string value;
  int line;
};
void Collect(const Value& value, const std::string& path, std::multimap<std::string, Use>& uses) {
  for (const Value& item : value.items) Collect(item, path + "[]", uses);
  for (const Entry& entry : value.entries) {
    const std::string child = path.empty() ? entry.key : path + "." + entry.key;
    uses.emplace(child, Use{entry.value.scalar, entry.key_span.line});
    Collect(entry.value, child, uses);
  }
}

class Example : public testing::Test {
 protected:
  void SetUp() override {
    Value root;
    ASSERT_TRUE(ParseDocument(text_, faults_, &root));
    Collect(root, "", uses_);
  }

  std::string text_ = ReadConfig("example.yaml");
  FaultList faults_{text_, "example.yaml"};
  std::multimap<std::string, Use> uses_;
};

TEST_F(Example, ShippedFilesHaveNoFault) {
  for (const std::string name : {"demo.yaml", "example.yaml"}) {
    const TopologyResult result = LoadTopology(ConfigPath(name));
    EXPECT_TRUE(result.ok()) << RenderFaults(result.faults);
  }
}

TEST_F(Example, HasEveryKeyOfTheSchemaAndNoOther) {
  std::set<std::string> in_schema, in_example;
  for (const KeyDocument& key : DescribeTopology()) in_schema.insert(key.path);
  for (const auto& [path, use] : uses_) in_example.insert(path);
  EXPECT_EQ(in_example, in_schema);
}

TEST_F(Example, EveryKeyIsExplainedWhereItFirstStands) {
  std::set<std::string> explained;
  for (const auto& [path, use] : uses_) {
    const bool on_line = faults_.Line(use.line).find(" # ") != std::string_view::npos;
    const bool above = faults_.Line(use.line - 1).starts_with("# ");
    if (on_line || above) explained.insert(path);
  }
  // What kind and address of a fabric are stands at `fabric`, how long a timeout is at each of them.
  for (const KeyDocument& key : DescribeTopology()) {
    if (key.path == "nodes[].fabric[].address" || key.path == "defaults.timeouts") continue;
    EXPECT_TRUE(explained.contains(key.path)) << key.path;
  }
}

TEST_F(Example, EveryKeyWithADefaultIsWrittenWithIt) {
  for (const KeyDocument& key : DescribeTopology()) {
    EXPECT_FALSE(key.meaning.empty() || key.type.empty()) << key.path;
    if (key.default_text.empty() || key.path == "insecure") continue;  // the example's addresses need it
    const auto [first, last] = uses_.equal_range(key.path);
    ASSERT_NE(first, last) << key.path;
    EXPECT_EQ(first->second.value, key.default_text) << key.path;
  }
}

TEST(Demo, IsTheSameAsTheDesignsBuiltIn) {
  const TopologyResult result = LoadTopology(ConfigPath("demo.yaml"));
  ASSERT_TRUE(result.ok()) << RenderFaults(result.faults);
  const Topology& demo = result.topology;
  EXPECT_EQ(demo.cluster, "demo");
  ASSERT_EQ(demo.nodes.size(), 3u);
  EXPECT_EQ(demo.FindNode("p1")->cache_bytes, kGiB);
  EXPECT_EQ(demo.FindNode("m1")->pool_bytes, 4 * kGiB);
  EXPECT_EQ(demo.FindNode("s1")->log.capacity_bytes, 8 * kGiB);
  EXPECT_EQ(LogPath(demo.FindNode("s1")->log, "/var/lib/x"), "/var/lib/x/s1");
  EXPECT_EQ(demo.defaults.ReachedLevel(), AckLevel::kDisk);
}

}  // namespace
}  // namespace ashlar::config
