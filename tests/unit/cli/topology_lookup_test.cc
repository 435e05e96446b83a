#include "cli/topology_lookup.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "gtest/gtest.h"

namespace ashlar::cli {
namespace {

class TopologyLookup : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "/lookup-XXXXXX";
    ASSERT_NE(::mkdtemp(directory_.data()), nullptr);
    ::unsetenv("ASHLAR_TOPOLOGY");
    ::setenv("XDG_CONFIG_HOME", directory_.c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("XDG_CONFIG_HOME");
    ::unsetenv("ASHLAR_TOPOLOGY");
    std::filesystem::remove_all(directory_);
  }
  std::string directory_;
  std::vector<std::string> looked_at_;
};

TEST_F(TopologyLookup, TheFlagWinsOverTheVariableOverTheHome) {
  std::filesystem::create_directories(directory_ + "/ashlar");
  std::ofstream(directory_ + "/ashlar/topology.yaml") << "x";
  EXPECT_EQ(FindTopology("", &looked_at_), directory_ + "/ashlar/topology.yaml");
  ::setenv("ASHLAR_TOPOLOGY", "/named", 1);
  EXPECT_EQ(FindTopology("", &looked_at_), "/named");
  EXPECT_EQ(FindTopology("/given", &looked_at_), "/given");
}

TEST_F(TopologyLookup, WithoutOneThePlacesAreNamed) {
  if (::access("/etc/ashlar/topology.yaml", F_OK) == 0) GTEST_SKIP() << "this host has a topology";
  const LoadedTopology loaded = LoadTopologyFor({});
  ASSERT_TRUE(loaded.failure.has_value());
  EXPECT_EQ(loaded.failure->exit_code, 78);
  EXPECT_NE(loaded.failure->err.find(directory_ + "/ashlar/topology.yaml or /etc/ashlar/topology.yaml"), std::string::npos);
}

TEST_F(TopologyLookup, ABadFileEndsWith78AndItsFaults) {
  const std::string path = directory_ + "/bad.yaml";
  std::ofstream(path) << "version: 1\ncluser: x\n";
  const LoadedTopology loaded = LoadTopologyFor({.topology = path});
  ASSERT_TRUE(loaded.failure.has_value());
  EXPECT_EQ(loaded.failure->exit_code, 78);
  EXPECT_NE(loaded.failure->err.find("did you mean \"cluster\"?"), std::string::npos) << loaded.failure->err;
}

}  // namespace
}  // namespace ashlar::cli
