#include "common/base/mapping.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace ashlar {
namespace {

TEST(Mapping, IsZeroedAndRoundedUpToPages) {
  auto mapping = Mapping::Anonymous(5000);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  EXPECT_EQ(mapping->bytes().size(), 8192u);
  EXPECT_TRUE(std::ranges::all_of(mapping->bytes(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST(Mapping, MovesWithoutCopying) {
  auto mapping = Mapping::Anonymous(4096, Mapping::HugePages::kTry);
  ASSERT_TRUE(mapping.ok()) << mapping.status();
  std::byte* data = mapping->bytes().data();
  Mapping moved = *std::move(mapping);
  EXPECT_EQ(moved.bytes().data(), data);
}

}  // namespace
}  // namespace ashlar
