#include "daemons/pnode/remote_page_store/trim_queue.h"

#include <array>

#include <gtest/gtest.h>

namespace ashlar::pnode {
namespace {

constexpr std::uint64_t kNoneUnderWay = UINT64_MAX;
TrimRange Range(std::uint64_t first, std::uint64_t count, std::uint64_t up_to) { return {PageNumber(first), count, Version(up_to)}; }

TEST(TrimQueue, ATrimWaitsForTheWriteBacksBeforeItOnly) {
  TrimQueue queue(10);
  ASSERT_TRUE(queue.Add(Range(0, 1, 5), /*after_ticket=*/3));
  ASSERT_TRUE(queue.Add(Range(9, 1, 5), /*after_ticket=*/6));
  std::array<fit::wire::TrimRange, 4> out;
  EXPECT_EQ(queue.Peek(/*oldest_ticket=*/3, out), 0u);
  EXPECT_EQ(queue.Peek(/*oldest_ticket=*/4, out), 1u);
  EXPECT_EQ(out[0].first_page, 0u);
  EXPECT_EQ(queue.Peek(kNoneUnderWay, out), 2u);
}

TEST(TrimQueue, NeighboursOfOneVersionAreJoinedAndOthersAreNot) {
  TrimQueue queue(10);
  queue.Add(Range(4, 4, 5), 1);
  queue.Add(Range(8, 2, 5), 1);
  queue.Add(Range(2, 2, 5), 1);
  EXPECT_EQ(queue.size(), 1u);
  queue.Add(Range(10, 2, 6), 1);
  queue.Add(Range(20, 2, 6), 1);
  EXPECT_EQ(queue.size(), 3u);
  std::array<fit::wire::TrimRange, 4> out;
  ASSERT_EQ(queue.Peek(kNoneUnderWay, out), 3u);
  EXPECT_EQ(out[0].first_page, 2u);
  EXPECT_EQ(out[0].page_count, 8u);
}

TEST(TrimQueue, WhatIsUnderWayIsNotChangedAndComesAgainIfNotConfirmed) {
  TrimQueue queue(10);
  queue.Add(Range(4, 4, 5), 1);
  std::array<fit::wire::TrimRange, 4> out;
  ASSERT_EQ(queue.Peek(kNoneUnderWay, out), 1u);
  queue.Add(Range(8, 4, 5), 1);
  EXPECT_EQ(queue.size(), 2u) << "not joined to the one on the wire";
  queue.SendAgain();
  ASSERT_EQ(queue.Peek(kNoneUnderWay, out), 2u);
  queue.Confirm(2);
  EXPECT_TRUE(queue.empty());
}

TEST(TrimQueue, ARangeStaysWithin32Bits) {
  TrimQueue queue(10);
  queue.Add(Range(0, std::uint64_t{1} << 31, 5), 1);
  queue.Add(Range(std::uint64_t{1} << 31, std::uint64_t{1} << 31, 5), 1);
  EXPECT_EQ(queue.size(), 2u);
}

TEST(TrimQueue, TheBoundIsKept) {
  TrimQueue queue(2);
  EXPECT_TRUE(queue.Add(Range(0, 1, 1), 1));
  EXPECT_TRUE(queue.Add(Range(10, 1, 1), 1));
  EXPECT_FALSE(queue.Add(Range(20, 1, 1), 1));
  EXPECT_TRUE(queue.Add(Range(11, 1, 1), 1)) << "joined, so it costs nothing";
}

}  // namespace
}  // namespace ashlar::pnode
