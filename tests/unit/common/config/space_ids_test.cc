#include "common/config/space_ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <string>

#include "common/config/stored_counter.h"
#include "tests/unit/common/config/temp_directory.h"

namespace ashlar::config {
namespace {

const NodeId kPnode(0xabcdef0123456789);
constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kCounterMask = SpaceIds::kCounterEnd - 1;

class SpaceIdsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = StateDirectory::Open(temp_.path());
    ASSERT_TRUE(directory.ok()) << directory.status();
    directory_.emplace(*std::move(directory));
  }
  absl::StatusOr<SpaceIds> Open(std::uint64_t wall_clock_ns = 0) {
    return SpaceIds::Open(*directory_, kPnode, wall_clock_ns);
  }
  std::string FilePath() const { return temp_.path() + "/space_ids"; }
  void Store(std::uint64_t value) {
    ASSERT_TRUE(directory_->SyncFile("space_ids", EncodeCounter(CounterKind::kSpaceIds, kPnode, value)).ok());
  }

  TempDirectory temp_;
  std::optional<StateDirectory> directory_;
};

TEST_F(SpaceIdsTest, AreMadeOfThePnodesPrefixAndACounter) {
  auto ids = Open();
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ(*ids->Take(), SpaceId(0xabcdef0000000001));
  EXPECT_EQ(*ids->Take(), SpaceId(0xabcdef0000000002));
}

TEST_F(SpaceIdsTest, NoneRepeatsOverManyCrashes) {
  std::set<SpaceId> seen;
  for (std::uint64_t life = 0; life < 10; ++life) {
    auto ids = Open();
    ASSERT_TRUE(ids.ok()) << ids.status();
    const std::uint64_t count = life * 97 % (2 * SpaceIds::kBlock);
    for (std::uint64_t i = 0; i < count; ++i) EXPECT_TRUE(seen.insert(*ids->Take()).second);
  }
  EXPECT_GT(seen.size(), 2 * SpaceIds::kBlock);
}

TEST_F(SpaceIdsTest, ABlockIsStoredBeforeItsFirstIdIsGivenOut) {
  auto ids = Open();
  EXPECT_FALSE(std::filesystem::exists(FilePath())) << "opening reserves nothing";
  ASSERT_TRUE(ids->Take().ok());
  EXPECT_EQ(**ReadCounter(*directory_, "space_ids", CounterKind::kSpaceIds, kPnode), 1 + SpaceIds::kBlock);
  std::filesystem::remove(FilePath());
  for (std::uint64_t i = 1; i < SpaceIds::kBlock; ++i) ASSERT_TRUE(ids->Take().ok());
  EXPECT_FALSE(std::filesystem::exists(FilePath())) << "one write serves a block";
  ASSERT_TRUE(ids->Take().ok());
  EXPECT_TRUE(std::filesystem::exists(FilePath()));
}

TEST_F(SpaceIdsTest, ALostDirectoryStartsAboveByTheClock) {
  auto before = Open(1'700'000'000 * kSecond);
  const SpaceId used = *before->Take();
  std::filesystem::remove(FilePath());
  auto after = Open(1'700'000'010 * kSecond);
  EXPECT_GT(*after->Take(), used);
}

TEST_F(SpaceIdsTest, AnAbsurdClockDoesNotUseThemUp) {
  auto ids = Open(~std::uint64_t{0});
  EXPECT_LE(ids->Take()->value() & kCounterMask, SpaceIds::kCounterEnd / 2);
}

TEST_F(SpaceIdsTest, EndInWordsAndNotInARepetition) {
  Store(SpaceIds::kCounterEnd - 2);
  auto ids = Open();
  EXPECT_EQ(ids->Take()->value() & kCounterMask, SpaceIds::kCounterEnd - 2);
  EXPECT_EQ(ids->Take()->value() & kCounterMask, SpaceIds::kCounterEnd - 1);
  EXPECT_TRUE(absl::IsResourceExhausted(ids->Take().status()));
  EXPECT_TRUE(absl::IsResourceExhausted(Open()->Take().status()));
}

TEST_F(SpaceIdsTest, WithoutStorageNoneIsGivenOutAndTheNextCallTriesAgain) {
  auto ids = Open();
  std::filesystem::create_directory(FilePath() + ".tmp");
  EXPECT_FALSE(ids->Take().ok());
  std::filesystem::remove(FilePath() + ".tmp");
  EXPECT_EQ(*ids->Take(), SpaceId(0xabcdef0000000001));
}

TEST_F(SpaceIdsTest, ADamagedFileStopsTheStart) {
  std::ofstream(FilePath()) << "damaged";
  EXPECT_TRUE(absl::IsDataLoss(Open().status()));
}

}  // namespace
}  // namespace ashlar::config
