#include "common/telemetry/log2_histogram.h"

#include <gtest/gtest.h>

namespace ashlar {
namespace {

TEST(Log2Histogram, Edges) {
  EXPECT_EQ(Log2BucketOf(0), 0u);
  EXPECT_EQ(Log2BucketOf(127), 0u);
  EXPECT_EQ(Log2BucketOf(128), 1u);
  EXPECT_EQ(Log2BucketOf((std::uint64_t{1} << 37) - 1), 30u);
  EXPECT_EQ(Log2BucketOf(std::uint64_t{1} << 37), 31u);
  EXPECT_EQ(Log2BucketOf(UINT64_MAX), 31u);
  for (std::size_t bucket = 0; bucket < 32; ++bucket) {
    EXPECT_EQ(Log2BucketOf(Log2BucketStart(bucket)), bucket);
    if (bucket < 31) {
      EXPECT_EQ(Log2BucketOf(Log2BucketEnd(bucket) - 1), bucket);
    }
  }
}

TEST(Log2Histogram, PercentilesStayBetweenMinAndMax) {
  Log2Histogram histogram{};
  EXPECT_EQ(Log2Percentile(histogram, 0.5, 0, 0), 0u);
  histogram[Log2BucketOf(1000)] = 1;
  EXPECT_EQ(Log2Percentile(histogram, 0.5, 1000, 1000), 1000u);
  EXPECT_EQ(Log2Percentile(histogram, 0.99, 1000, 1000), 1000u);
}

TEST(Log2Histogram, PercentilesAreOffByAtMostTwo) {
  Log2Histogram histogram{};
  for (std::uint64_t ns = 1; ns <= 100'000; ++ns) ++histogram[Log2BucketOf(ns)];
  for (const double fraction : {0.01, 0.5, 0.9, 0.99}) {
    const double exact = fraction * 100'000;
    const auto value = static_cast<double>(Log2Percentile(histogram, fraction, 1, 100'000));
    EXPECT_GE(value, exact / 2) << fraction;
    EXPECT_LE(value, exact * 2) << fraction;
  }
}

}  // namespace
}  // namespace ashlar
