#include "daemons/mnode/pool/pool.h"

#include <algorithm>
#include <cstring>

#include <gtest/gtest.h>

namespace ashlar::mnode {
namespace {

bool AllZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

TEST(Pool, LendsWhatItHasAndThenRefuses) {
  auto pool = *Pool::Create(2 * kExtentBytes + 5, Mapping::HugePages::kNo);
  EXPECT_EQ(pool->extent_count(), 2u);
  const ExtentIndex a = *pool->Take();
  const ExtentIndex b = *pool->Take();
  EXPECT_NE(a, b);
  EXPECT_EQ(pool->Take().status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(pool->extents_used().value(), 2u);
  pool->Release(a);
  EXPECT_EQ(pool->extents_used().value(), 1u);
  EXPECT_EQ(*pool->Take(), a);
}

TEST(Pool, TooSmallForOneExtentIsRefused) {
  EXPECT_EQ(Pool::Create(kExtentBytes - 1, Mapping::HugePages::kNo).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Pool, AnExtentIsZeroAndUnwrittenWhenItIsLentAgain) {
  auto pool = *Pool::Create(kExtentBytes, Mapping::HugePages::kNo);
  const ExtentIndex extent = *pool->Take();
  for (std::size_t page : {std::size_t{0}, std::size_t{511}, kExtentPages - 1}) {
    std::memset(pool->FrameBytes(extent, page).data(), 0xAB, kPageBytes);
    pool->frame(extent, page) = {.version = 9, .crc32c = 1, .state = FrameState::kPage, .durable = true, .touched = true};
  }
  const std::uint32_t generation = pool->generation(extent);
  pool->Release(extent);
  ASSERT_EQ(*pool->Take(), extent);
  EXPECT_TRUE(AllZero(pool->bytes()));
  EXPECT_EQ(pool->generation(extent), generation + 1);
  EXPECT_EQ(pool->frames_zeroed().value(), 3u);
  for (std::size_t page = 0; page < kExtentPages; ++page) {
    EXPECT_EQ(pool->frame(extent, page).version, 0u);
    EXPECT_EQ(pool->frame(extent, page).state, FrameState::kEmpty);
    EXPECT_FALSE(pool->frame(extent, page).durable);
  }
}

TEST(PoolDeathTest, ReleasingTwiceIsABug) {
  auto pool = *Pool::Create(kExtentBytes, Mapping::HugePages::kNo);
  const ExtentIndex extent = *pool->Take();
  pool->Release(extent);
  EXPECT_DEATH(pool->Release(extent), "released twice");
}

}  // namespace
}  // namespace ashlar::mnode
