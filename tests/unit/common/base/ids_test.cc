#include "common/base/ids.h"

#include <type_traits>

#include <gtest/gtest.h>

namespace ashlar {
namespace {

static_assert(!std::is_convertible_v<PageNumber, SpaceId>);
static_assert(!std::is_convertible_v<int, PageNumber>);

TEST(StrongId, ComparesByValue) {
  EXPECT_LT(Epoch(1), Epoch(2));
  EXPECT_EQ(PageNumber(7), PageNumber(7));
}

TEST(PageNumber, KnowsItsExtent) {
  EXPECT_EQ(ExtentOf(PageNumber(1023)), 0u);
  EXPECT_EQ(ExtentOf(PageNumber(1024)), 1u);
  EXPECT_EQ(OffsetInExtent(PageNumber(1025)), kPageBytes);
}

}  // namespace
}  // namespace ashlar
