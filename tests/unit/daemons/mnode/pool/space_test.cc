#include "daemons/mnode/pool/space.h"

#include <algorithm>
#include <array>
#include <map>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "daemons/mnode/pool/space_table.h"

namespace ashlar::mnode {
namespace {

constexpr SpaceOwner kOwner{NodeId(1), Incarnation(10)};

std::array<std::byte, kPageBytes> PageOf(unsigned char fill) {
  std::array<std::byte, kPageBytes> page;
  page.fill(std::byte{fill});
  return page;
}

class SpaceTest : public testing::Test {
 protected:
  PageVersion Take(std::uint64_t page, std::uint64_t version, unsigned char fill) {
    const PageVersion v{PageNumber(page), Version(version), static_cast<std::uint32_t>(version * 100 + fill)};
    if (fill == 0) space_.Store(v, {});
    else space_.Store(v, PageOf(fill));
    return v;
  }
  std::unique_ptr<Pool> pool_ = *Pool::Create(4 * kExtentBytes, Mapping::HugePages::kNo);
  Space space_{*pool_, SpaceId(5), kOwner, Epoch(1)};
};

TEST_F(SpaceTest, MappingTwiceGivesTheSameExtent) {
  const ExtentIndex extent = *space_.MapExtent(7);
  EXPECT_EQ(*space_.MapExtent(7), extent);
  EXPECT_EQ(pool_->extents_used().value(), 1u);
  EXPECT_EQ(space_.FindExtent(8), std::nullopt);
  EXPECT_EQ(space_.Find(PageNumber(8 * kExtentPages)), nullptr);
}

TEST_F(SpaceTest, AZeroPageClearsTheFrameThatAReaderSees) {
  ASSERT_TRUE(space_.MapExtent(0).ok());
  Take(3, 1, 0xEE);
  EXPECT_EQ(space_.BytesOf(PageNumber(3))[17], std::byte{0xEE});
  Take(3, 2, 0);
  EXPECT_EQ(space_.Find(PageNumber(3))->state, FrameState::kZero);
  for (std::byte b : space_.BytesOf(PageNumber(3))) ASSERT_EQ(b, std::byte{0});
}

TEST_F(SpaceTest, ANewVersionIsNotDurableByTheOldOnesAcknowledgement) {
  ASSERT_TRUE(space_.MapExtent(0).ok());
  const PageVersion first = Take(3, 1, 1);
  space_.BeginSend(first);
  const PageVersion second = Take(3, 2, 2);
  space_.EndSend(first, /*durable=*/true);
  EXPECT_FALSE(space_.Find(PageNumber(3))->durable);
  EXPECT_EQ(space_.behind_pages(), 1u);
  space_.BeginSend(second);
  EXPECT_EQ(space_.idle_behind_pages(), 0u);
  space_.EndSend(second, /*durable=*/true);
  EXPECT_TRUE(space_.Find(PageNumber(3))->durable);
  EXPECT_EQ(space_.behind_pages(), 0u);
}

TEST_F(SpaceTest, AFailedSendLeavesThePageToBeCollected) {
  ASSERT_TRUE(space_.MapExtent(0).ok());
  const PageVersion v = Take(3, 1, 1);
  space_.BeginSend(v);
  std::array<PageVersion, 4> out;
  PageNumber cursor;
  EXPECT_EQ(space_.CollectBehind(&cursor, out), 0u);
  space_.EndSend(v, /*durable=*/false);
  ASSERT_EQ(space_.CollectBehind(&cursor, out), 1u);
  EXPECT_EQ(out[0].page, PageNumber(3));
  EXPECT_EQ(out[0].crc32c, v.crc32c);
}

TEST_F(SpaceTest, CollectBehindGoesOnWhereItStopped) {
  ASSERT_TRUE(space_.MapExtent(0).ok());
  ASSERT_TRUE(space_.MapExtent(2).ok());
  for (std::uint64_t page : {1ull, 2ull, 1023ull, 2048ull, 2100ull}) Take(page, 1, 1);
  std::array<PageVersion, 2> out;
  PageNumber cursor;
  ASSERT_EQ(space_.CollectBehind(&cursor, out), 2u);
  EXPECT_EQ(out[1].page, PageNumber(2));
  ASSERT_EQ(space_.CollectBehind(&cursor, out), 2u);
  EXPECT_EQ(out[0].page, PageNumber(1023));
  EXPECT_EQ(out[1].page, PageNumber(2048));
  ASSERT_EQ(space_.CollectBehind(&cursor, out), 1u);
  EXPECT_EQ(out[0].page, PageNumber(2100));
  EXPECT_EQ(cursor, PageNumber(0));
}

TEST_F(SpaceTest, ATrimmedPageRefusesLateVersionsAndTakesHigherOnes) {
  ASSERT_TRUE(space_.MapExtent(0).ok());
  Take(3, 4, 1);
  Take(4, 9, 1);
  space_.Trim(PageNumber(0), kExtentPages, Version(6));
  const Frame& trimmed = *space_.Find(PageNumber(3));
  EXPECT_EQ(trimmed.state, FrameState::kEmpty);
  EXPECT_EQ(Judge(trimmed.held(), Version(6), 1), Verdict::kSuperseded);
  EXPECT_EQ(Judge(trimmed.held(), Version(7), 1), Verdict::kTake);
  EXPECT_EQ(space_.Find(PageNumber(4))->state, FrameState::kPage) << "a version above up_to stays";
  EXPECT_EQ(space_.live_pages(), 1u);
}

TEST_F(SpaceTest, ATrimFarBeyondTheSpaceTouchesOnlyItsOwnExtents) {
  ASSERT_TRUE(space_.MapExtent(1).ok());
  Take(1024, 1, 1);
  space_.Trim(PageNumber(1025), (std::uint64_t{1} << 50), Version(5));
  EXPECT_EQ(space_.live_pages(), 1u);
  space_.Trim(PageNumber(0), 1025, Version(5));
  EXPECT_EQ(space_.live_pages(), 0u);
}

// The counts against a walk over all frames, through 20,000 random steps.
TEST_F(SpaceTest, CountsAgreeWithTheFrames) {
  std::mt19937_64 random(20261122);
  std::map<std::uint64_t, std::uint64_t> next_version;
  std::vector<PageVersion> sent;
  for (int step = 0; step < 20000; ++step) {
    const std::uint64_t number = random() % 3;
    const std::uint64_t page = number * kExtentPages + random() % 8;
    switch (random() % 8) {
      case 0: ASSERT_TRUE(space_.MapExtent(number).ok()); break;
      case 1: case 2: case 3:
        if (!space_.FindExtent(number)) break;
        next_version[page] = std::max(next_version[page], space_.Find(PageNumber(page))->version) + 1;
        sent.push_back(Take(page, next_version[page], random() % 2 ? 0 : 1));
        space_.BeginSend(sent.back());
        break;
      case 4: case 5:
        if (sent.empty()) break;
        std::swap(sent[random() % sent.size()], sent.back());
        space_.EndSend(sent.back(), random() % 2 == 0);
        sent.pop_back();
        break;
      case 6: space_.Trim(PageNumber(page), random() % 4 + 1, Version(next_version[page])); break;
      case 7:
        if (random() % 16 != 0) break;
        if (const auto extent = space_.UnmapExtent(number)) pool_->Release(*extent);
        break;
    }
    if (step % 50 != 0) continue;
    std::uint64_t live = 0, behind = 0, idle = 0;
    for (std::uint64_t n = 0; n < 3; ++n) {
      const auto extent = space_.FindExtent(n);
      for (std::size_t i = 0; extent && i < kExtentPages; ++i) {
        const Frame& frame = pool_->frame(*extent, i);
        live += frame.state != FrameState::kEmpty;
        behind += frame.state != FrameState::kEmpty && !frame.durable;
        idle += frame.state != FrameState::kEmpty && !frame.durable && frame.sending == 0;
      }
    }
    ASSERT_EQ(space_.live_pages(), live);
    ASSERT_EQ(space_.behind_pages(), behind);
    ASSERT_EQ(space_.idle_behind_pages(), idle);
  }
  for (ExtentIndex extent : space_.UnmapAll()) pool_->Release(extent);
  EXPECT_EQ(pool_->extents_used().value(), 0u);
  EXPECT_EQ(space_.behind_pages(), 0u);
}

TEST(SpaceTable, AnEndedIdIsRememberedAndOwnersAreFound) {
  auto pool = *Pool::Create(kExtentBytes, Mapping::HugePages::kNo);
  SpaceTable table(*pool);
  table.Create(SpaceId(1), kOwner, Epoch(1));
  table.Create(SpaceId(2), {NodeId(1), Incarnation(11)}, Epoch(1));
  EXPECT_THAT(table.OwnedBy(kOwner), testing::ElementsAre(SpaceId(1)));
  table.End(SpaceId(1));
  EXPECT_EQ(table.Find(SpaceId(1)), nullptr);
  EXPECT_TRUE(table.Ended(SpaceId(1)));
  EXPECT_FALSE(table.Ended(SpaceId(2)));
}

}  // namespace
}  // namespace ashlar::mnode
