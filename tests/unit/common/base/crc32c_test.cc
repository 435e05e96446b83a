#include "common/base/crc32c.h"

#include <array>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace ashlar {
namespace {

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

TEST(Crc32c, HasTheStandardCheckValue) { EXPECT_EQ(Crc32c(Bytes("123456789")), 0xe3069283u); }

TEST(Crc32c, ContinuesWhereItStopped) { EXPECT_EQ(Crc32c(Bytes("6789"), Crc32c(Bytes("12345"))), 0xe3069283u); }

// The page of the worked example of the replica log's format: byte i is i mod 256.
TEST(PageCrc32c, MatchesTheWorkedExampleOfTheLogFormat) {
  std::array<std::byte, kPageBytes> page;
  for (std::size_t i = 0; i < page.size(); ++i) page[i] = static_cast<std::byte>(i % 256);
  EXPECT_EQ(PageCrc32c(SpaceId(0x11), PageNumber(0x7f3a2), Version(5), page), 0x0ae258b5u);
  EXPECT_EQ(PageCrc32c(SpaceId(0x11), PageNumber(0x7f3a3), Version(1), {}), 0x6db296b9u);
}

TEST(PageCrc32c, DiffersByEachPartOfTheIdentity) {
  std::vector<std::byte> page(kPageBytes);
  const auto crc = PageCrc32c(SpaceId(1), PageNumber(2), Version(3), page);
  EXPECT_NE(crc, PageCrc32c(SpaceId(2), PageNumber(2), Version(3), page));
  EXPECT_NE(crc, PageCrc32c(SpaceId(1), PageNumber(3), Version(3), page));
  EXPECT_NE(crc, PageCrc32c(SpaceId(1), PageNumber(2), Version(4), page));
}

}  // namespace
}  // namespace ashlar
