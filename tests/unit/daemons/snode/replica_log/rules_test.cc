// The pure rules: versions, trims, capacity, the chain of batches.
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "daemons/snode/replica_log/capacity.h"
#include "daemons/snode/replica_log/chain.h"
#include "daemons/snode/replica_log/trim_floors.h"
#include "daemons/snode/replica_log/version_rule.h"

namespace ashlar::snode {
namespace {

TEST(VersionRule, WalkedWhole) {
  for (std::uint64_t arriving = 1; arriving <= 3; ++arriving)
    for (std::uint64_t held = 0; held <= 3; ++held)
      for (std::uint64_t trimmed = 0; trimmed <= 3; ++trimmed)
        for (std::uint32_t crc : {7U, 8U}) {
          const VersionMark held_mark{Version(held), 7};
          const VersionVerdict verdict =
              JudgeVersion({Version(arriving), crc}, held == 0 ? nullptr : &held_mark, Version(trimmed));
          VersionVerdict expected = VersionVerdict::kTake;
          if (arriving <= trimmed || arriving < held)
            expected = VersionVerdict::kSuperseded;
          else if (arriving == held)
            expected = crc == 7 ? VersionVerdict::kAlready : VersionVerdict::kTwoVersions;
          EXPECT_EQ(verdict, expected) << arriving << " " << held << " " << trimmed << " " << crc;
        }
}

TEST(Capacity, ThreeStates) {
  EXPECT_EQ(JudgeCapacity(0, 1000), CapacityState::kOk);
  EXPECT_EQ(JudgeCapacity(740, 1000), CapacityState::kOk);
  EXPECT_EQ(JudgeCapacity(760, 1000), CapacityState::kNearFull);
  EXPECT_EQ(JudgeCapacity(890, 1000), CapacityState::kNearFull);
  EXPECT_EQ(JudgeCapacity(920, 1000), CapacityState::kFull);
}

TEST(TrimFloors, AgreesWithAMapOfPages) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 200; ++round) {
    TrimFloors floors;
    std::map<std::uint64_t, std::uint64_t> model;
    for (int i = 0; i < 12; ++i) {
      const std::uint64_t first = random() % 40;
      const std::uint64_t count = 1 + random() % 12;
      const std::uint64_t upto = 1 + random() % 5;
      floors.Add(PageNumber(first), count, Version(upto), 100);
      for (std::uint64_t p = first; p < first + count; ++p) model[p] = std::max(model[p], upto);
      for (std::uint64_t p = 0; p < 60; ++p)
        ASSERT_EQ(floors.At(PageNumber(p)).value(), model.contains(p) ? model[p] : 0) << "page " << p;
    }
  }
}

TEST(TrimFloors, PageByPageKeepsOneRangeAndIsForgottenByAge) {
  TrimFloors floors;
  for (std::uint64_t p = 0; p < 1000; ++p) floors.Add(PageNumber(p), 1, Version(3), 50 + p);
  EXPECT_EQ(floors.size(), 1U);
  floors.ForgetBefore(1049);
  EXPECT_EQ(floors.At(PageNumber(5)), Version(3));
  floors.ForgetBefore(1050);
  EXPECT_EQ(floors.At(PageNumber(5)), Version(0));
}

FoundBatch Batch(std::uint64_t seq, std::uint64_t resumes, std::uint64_t durable_upto = 0, std::uint32_t segment = 0) {
  return {.batch_seq = seq,
          .resumes = resumes,
          .durable_upto = durable_upto,
          .header_crc = static_cast<std::uint32_t>(seq) * 17,
          .prev_header_crc = static_cast<std::uint32_t>(resumes) * 17,
          .segment = segment,
          .first_seq = seq};
}
std::vector<std::uint64_t> Numbers(const std::vector<FoundBatch>& batches) {
  std::vector<std::uint64_t> numbers;
  for (const FoundBatch& batch : batches) numbers.push_back(batch.batch_seq);
  return numbers;
}
using List = std::vector<std::uint64_t>;

TEST(Chain, RunsFromTheOldestToTheNewest) {
  const auto chain = BuildChain({Batch(12, 11, 11), Batch(10, 9, 9), Batch(11, 10, 10)}, {});
  ASSERT_TRUE(chain.ok());
  EXPECT_EQ(Numbers(chain->batches), (List{10, 11, 12}));
  EXPECT_EQ(chain->acknowledged_upto, 11U);
}

TEST(Chain, WhatWasInFlightBehindAHoleIsVoid) {
  const auto chain = BuildChain({Batch(10, 9), Batch(12, 11, 9), Batch(13, 12, 10)}, {});
  ASSERT_TRUE(chain.ok());
  EXPECT_EQ(Numbers(chain->batches), (List{10}));
  EXPECT_EQ(Numbers(chain->beyond), (List{12, 13}));
  EXPECT_EQ(chain->highest_seen, 13U);
}

TEST(Chain, AHoleBelowAnAcknowledgedBatchIsDamageAndTheLogGoesOnBehindIt) {
  const auto chain = BuildChain({Batch(10, 9), Batch(12, 11), Batch(13, 12, 11)}, {});
  ASSERT_TRUE(chain.ok());
  EXPECT_EQ(Numbers(chain->batches), (List{10, 12, 13}));
  ASSERT_EQ(chain->gaps.size(), 1U);
  EXPECT_EQ(chain->gaps[0].after.batch_seq, 10U);
  EXPECT_EQ(chain->gaps[0].before->batch_seq, 12U);
}

TEST(Chain, AnAcknowledgedEndThatIsMissingIsDamage) {
  const auto chain = BuildChain({Batch(10, 9), Batch(13, 12, 11)}, {});
  ASSERT_TRUE(chain.ok());
  EXPECT_EQ(Numbers(chain->batches), (List{10})) << "13 follows 12, which was in flight";
  EXPECT_EQ(Numbers(chain->beyond), (List{13}));
  ASSERT_EQ(chain->gaps.size(), 1U);
  EXPECT_FALSE(chain->gaps[0].before.has_value());
  EXPECT_TRUE(BuildChain({Batch(10, 9)}, {}, 12)->gaps.size() == 1) << "a seal proves it as well";
}

TEST(Chain, ASealedSegmentStandsForAllItsBatches) {
  FoundBatch sealed = Batch(30, 9, 30, 4);
  sealed.sealed = true;
  sealed.first_seq = 10;
  sealed.prev_header_crc = 0;
  const auto chain = BuildChain({Batch(31, 30), sealed, Batch(9, 8)}, {});
  ASSERT_TRUE(chain.ok());
  EXPECT_EQ(Numbers(chain->batches), (List{9, 30, 31}));
  EXPECT_TRUE(chain->gaps.empty());
}

// Every evidence: the batch behind a hole was acknowledged, or the missing one, or neither.
TEST(Chain, EvidenceDecidesBetweenTornAndCorrupt) {
  for (std::uint64_t proven = 9; proven <= 13; ++proven) {
    const auto chain = BuildChain({Batch(10, 9), Batch(12, 11), Batch(13, 12)}, {}, proven);
    ASSERT_TRUE(chain.ok());
    const bool corrupt = proven >= 11;
    EXPECT_EQ(chain->gaps.size(), corrupt ? 1U : 0U) << proven;
    EXPECT_EQ(chain->beyond.size(), corrupt ? 0U : 2U) << proven;
    EXPECT_EQ(chain->batches.size(), corrupt ? 3U : 1U) << proven;
  }
}

TEST(Chain, AStartMarkVoidsWhatLiesBetween) {
  const auto chain = BuildChain({Batch(10, 9), Batch(12, 11), Batch(29, 10, 10), Batch(30, 29, 29)}, {});
  ASSERT_TRUE(chain.ok());
  EXPECT_EQ(Numbers(chain->batches), (List{10, 29, 30}));
  EXPECT_TRUE(chain->beyond.empty());
}

TEST(Chain, AWrongLinkIsAGap) {
  FoundBatch other = Batch(11, 10);
  other.prev_header_crc ^= 1;
  const auto chain = BuildChain({Batch(10, 9), other}, {});
  ASSERT_TRUE(chain.ok());
  EXPECT_EQ(Numbers(chain->beyond), (List{11}));
}

TEST(Chain, ASegmentBeingUsedAgainMayHaveGaps) {
  const auto chain = BuildChain({Batch(3, 2, 2, 5), Batch(7, 6, 6, 5), Batch(10, 9, 9), Batch(11, 10, 10)}, {5});
  ASSERT_TRUE(chain.ok());
  EXPECT_EQ(Numbers(chain->batches), (List{3, 7, 10, 11}));
}

TEST(Chain, OneNumberTwiceIsDataLoss) {
  EXPECT_TRUE(absl::IsDataLoss(BuildChain({Batch(10, 9), Batch(10, 9, 0, 1)}, {}).status()));
}

TEST(Chain, WhatIsCutOffIsVoidWithAllBehindIt) {
  auto chain = BuildChain({Batch(10, 9), Batch(11, 10), Batch(12, 11, 10)}, {});
  ASSERT_TRUE(chain.ok());
  CutChain(&*chain, 1);
  EXPECT_EQ(Numbers(chain->batches), (List{10}));
  EXPECT_EQ(Numbers(chain->beyond), (List{11, 12}));
}

}  // namespace
}  // namespace ashlar::snode
