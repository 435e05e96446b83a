#include "common/config/node_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>
#include <string>

#include "common/config/stored_counter.h"
#include "tests/unit/common/config/temp_directory.h"

namespace ashlar::config {
namespace {

using ::testing::HasSubstr;

const NodeId kNode(42);

class NodeIdentityTest : public testing::Test {
 protected:
  absl::StatusOr<NodeIdentity> Start(std::uint64_t wall_clock_ns, NodeId node = kNode) {
    auto directory = StateDirectory::Open(temp_.path());
    if (!directory.ok()) return directory.status();
    return SyncNextIncarnation(*directory, node, wall_clock_ns);
  }
  std::string FilePath() const { return temp_.path() + "/incarnation"; }

  TempDirectory temp_;
};

TEST_F(NodeIdentityTest, TheFirstLifeIsTheWallClock) {
  const auto identity = Start(1000);
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->node_id, kNode);
  EXPECT_EQ(identity->incarnation, Incarnation(1000));
}

TEST_F(NodeIdentityTest, GrowsEvenIfTheClockStandsOrGoesBack) {
  EXPECT_EQ(Start(1000)->incarnation, Incarnation(1000));
  EXPECT_EQ(Start(1000)->incarnation, Incarnation(1001));
  EXPECT_EQ(Start(5)->incarnation, Incarnation(1002));
  EXPECT_EQ(Start(2000)->incarnation, Incarnation(2000));
}

TEST_F(NodeIdentityTest, IsNeverZero) { EXPECT_EQ(Start(0)->incarnation, Incarnation(1)); }

TEST_F(NodeIdentityTest, ADamagedFileStopsTheStartAndIsNamed) {
  ASSERT_TRUE(Start(1000).ok());
  std::filesystem::resize_file(FilePath(), 31);
  const auto identity = Start(2000);
  EXPECT_TRUE(absl::IsDataLoss(identity.status()));
  EXPECT_THAT(std::string(identity.status().message()), HasSubstr(FilePath()));
}

TEST_F(NodeIdentityTest, AnotherNodesDirectoryIsRefused) {
  ASSERT_TRUE(Start(1000).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Start(2000, NodeId(43)).status()));
  EXPECT_EQ(Start(1000)->incarnation, Incarnation(1001)) << "the refusal changed nothing";
}

TEST_F(NodeIdentityTest, TheHighestNumberHasNoSuccessor) {
  std::ofstream(FilePath()) << EncodeCounter(CounterKind::kIncarnation, kNode, std::numeric_limits<std::uint64_t>::max());
  EXPECT_TRUE(absl::IsDataLoss(Start(2000).status()));
}

TEST_F(NodeIdentityTest, WhatCannotBeStoredIsNotReturned) {
  std::filesystem::create_directory(FilePath() + ".tmp");  // takes the place of the temporary file
  EXPECT_FALSE(Start(1000).ok());
}

TEST(WallClock, IsAfterThisWasWritten) { EXPECT_GT(WallClockNs(), 1'700'000'000ull * 1'000'000'000); }

}  // namespace
}  // namespace ashlar::config
