#include "common/config/units.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace ashlar::config {
namespace {

using ::testing::HasSubstr;

std::string SizeError(std::string_view text) {
  const auto parsed = ParseSize(text);
  return parsed.ok() ? "parsed" : std::string(parsed.status().message());
}
std::string DurationError(std::string_view text) {
  const auto parsed = ParseDuration(text);
  return parsed.ok() ? "parsed" : std::string(parsed.status().message());
}

TEST(Units, SizesAreReadWithTheirUnit) {
  EXPECT_EQ(*ParseSize("1KiB"), 1024u);
  EXPECT_EQ(*ParseSize("64MiB"), 64 * kMiB);
  EXPECT_EQ(*ParseSize("1536GiB"), 1536 * kGiB);
  EXPECT_EQ(*ParseSize("2TiB"), 2 * kTiB);
  EXPECT_EQ(*ParseSize("0MiB"), 0u);
  EXPECT_EQ(*ParseSize("18014398509481983KiB"), std::numeric_limits<std::uint64_t>::max() - 1023);
}

TEST(Units, DecimalUnitsAreAmbiguousAndBothMeaningsAreOffered) {
  EXPECT_EQ(SizeError("200GB"),
            "\"200GB\" is ambiguous; write 200GiB (214.7e9 bytes) or 186GiB (about 200e9 bytes)");
  EXPECT_EQ(SizeError("1k"), "\"1k\" is ambiguous; write 1KiB (1.024e3 bytes) or 1KiB (about 1e3 bytes)");
  EXPECT_THAT(SizeError("3T"), HasSubstr("write 3TiB"));
  EXPECT_THAT(SizeError("18446744073709551615TB"), HasSubstr("ambiguous"));
}

TEST(Units, EveryOtherSizeIsRefusedWithWhatToWrite) {
  EXPECT_EQ(SizeError("64"), "\"64\" has no unit; write 64MiB (units: KiB MiB GiB TiB)");
  EXPECT_EQ(SizeError("64mib"), "\"64mib\" has its unit written wrong; write 64MiB");
  EXPECT_EQ(SizeError("064MiB"), "\"064MiB\" has a leading zero, which some programs read as octal; write 64MiB");
  EXPECT_EQ(SizeError("1.5GiB"), "\"1.5GiB\" has a decimal point; write a whole number of a smaller unit");
  EXPECT_THAT(SizeError("64 MiB"), HasSubstr("write 64MiB"));
  EXPECT_THAT(SizeError("64 parsecs"), HasSubstr("unknown unit"));
  EXPECT_THAT(SizeError("64MiBMiB"), HasSubstr("unknown unit"));
  EXPECT_THAT(SizeError("-1MiB"), HasSubstr("sign"));
  EXPECT_THAT(SizeError("+1MiB"), HasSubstr("sign"));
  EXPECT_THAT(SizeError(""), HasSubstr("does not start with a number"));
  EXPECT_THAT(SizeError("MiB"), HasSubstr("does not start with a number"));
  EXPECT_THAT(SizeError("1e9"), HasSubstr("unknown unit"));
  EXPECT_THAT(SizeError("0x10MiB"), HasSubstr("unknown unit"));
  EXPECT_THAT(SizeError("16777216TiB"), HasSubstr("too large"));
  EXPECT_THAT(SizeError("18446744073709551616KiB"), HasSubstr("too large"));
  EXPECT_THAT(SizeError(std::string_view("1MiB\0", 5)), HasSubstr("unknown unit"));
}

TEST(Units, IntegersAreDecimalOnly) {
  EXPECT_EQ(*ParseInteger("0"), 0u);
  EXPECT_EQ(*ParseInteger("18446744073709551615"), std::numeric_limits<std::uint64_t>::max());
  for (std::string_view text : {"", "010", "-1", "+1", "1e9", "0x10", "1_000", "1.0", " 1", "1 ", "18446744073709551616"}) {
    EXPECT_FALSE(ParseInteger(text).ok()) << text;
  }
}

TEST(Units, DurationsAreReadWithTheirUnit) {
  EXPECT_EQ(*ParseDuration("200ms"), absl::Milliseconds(200));
  EXPECT_EQ(*ParseDuration("60s"), absl::Seconds(60));
  EXPECT_EQ(*ParseDuration("5m"), absl::Minutes(5));
  EXPECT_EQ(*ParseDuration("24h"), absl::Hours(24));
  EXPECT_EQ(*ParseDuration("7d"), absl::Hours(168));
  EXPECT_EQ(DurationError("5"), "\"5\" has no unit; write 5ms or 5s");
  EXPECT_THAT(DurationError("5 s"), HasSubstr("without a space"));
  EXPECT_THAT(DurationError("5us"), HasSubstr("unknown unit"));
  EXPECT_THAT(DurationError("106752d"), HasSubstr("too long"));
  EXPECT_THAT(DurationError("18446744073709551615d"), HasSubstr("too long"));
}

TEST(Units, LiteralsAreReadBackToTheSameValue) {
  for (std::uint64_t bytes : {std::uint64_t{0}, kKiB, 1536 * kMiB, 3 * kGiB, 5 * kTiB, kTiB + kKiB}) {
    EXPECT_EQ(*ParseSize(SizeLiteral(bytes)), bytes) << SizeLiteral(bytes);
  }
  EXPECT_EQ(SizeLiteral(1536 * kMiB), "1536MiB");
  EXPECT_EQ(SizeLiteral(kMiB + 1), "1MiB");
  for (absl::Duration duration : {absl::ZeroDuration(), absl::Milliseconds(1500), absl::Seconds(90), absl::Hours(48)}) {
    EXPECT_EQ(*ParseDuration(DurationLiteral(duration)), duration) << DurationLiteral(duration);
  }
  EXPECT_EQ(DurationLiteral(absl::Seconds(90)), "90s");
}

TEST(Units, PeopleGetAboutThreeDigits) {
  EXPECT_EQ(HumanSize(0), "0 B");
  EXPECT_EQ(HumanSize(1023), "1023 B");
  EXPECT_EQ(HumanSize(64 * kMiB), "64 MiB");
  EXPECT_EQ(HumanSize(kGiB * 51 / 10), "5.1 GiB");
  EXPECT_EQ(HumanSize(kMiB - 1), "1 MiB");
  EXPECT_EQ(HumanSize(std::numeric_limits<std::uint64_t>::max()), "16777216 TiB");
  EXPECT_EQ(HumanDuration(absl::ZeroDuration()), "0 ns");
  EXPECT_EQ(HumanDuration(absl::Nanoseconds(850)), "850 ns");
  EXPECT_EQ(HumanDuration(absl::Nanoseconds(9'840)), "9.8 us");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(1500)), "1.5 s");
  EXPECT_EQ(HumanDuration(absl::Nanoseconds(999'999)), "1 ms");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(59'990)), "1m 0s");
  EXPECT_EQ(HumanDuration(absl::Seconds(330)), "5m 30s");
  EXPECT_EQ(HumanDuration(absl::Hours(76)), "3d 4h");
  EXPECT_EQ(HumanDuration(-absl::Seconds(2)), "-2 s");
  EXPECT_EQ(HumanDuration(absl::InfiniteDuration()), "for ever");
}

}  // namespace
}  // namespace ashlar::config
