#include "common/telemetry/histogram.h"

#include <gtest/gtest.h>

namespace ashlar {
namespace {

TEST(HistogramSnapshot, EveryBucketBoundLiesInItsBucketAndTheNextValueDoesNot) {
  for (std::size_t bucket = 0; bucket + 5 < HistogramSnapshot::kBuckets; ++bucket) {
    const std::uint64_t bound = HistogramSnapshot::UpperBound(bucket);
    EXPECT_EQ(HistogramSnapshot::BucketOf(bound), bucket) << bound;
    EXPECT_EQ(HistogramSnapshot::BucketOf(bound + 1), bucket + 1) << bound;
  }
}

TEST(HistogramSnapshot, LargestValueHasABucket) {
  EXPECT_LT(HistogramSnapshot::BucketOf(~std::uint64_t{0}), HistogramSnapshot::kBuckets);
}

TEST(Histogram, QuantilesAreAtMostAQuarterTooHigh) {
  Histogram histogram;
  for (std::uint64_t i = 1; i <= 1000; ++i) histogram.Add(i * 100);
  const HistogramSnapshot snapshot = histogram.Snapshot();
  EXPECT_EQ(snapshot.count, 1000u);
  EXPECT_EQ(snapshot.max, 100'000u);
  EXPECT_GE(snapshot.Quantile(0.5), 50'000u);
  EXPECT_LE(snapshot.Quantile(0.5), 62'500u);
  EXPECT_EQ(snapshot.Quantile(1.0), 100'000u);
}

TEST(HistogramSnapshot, MergesByAddingUp) {
  Histogram a, b;
  a.Add(1);
  b.Add(1000);
  HistogramSnapshot sum = a.Snapshot();
  sum.Merge(b.Snapshot());
  EXPECT_EQ(sum.count, 2u);
  EXPECT_EQ(sum.sum, 1001u);
  EXPECT_EQ(sum.Quantile(0.5), 1u);
  EXPECT_EQ(sum.max, 1000u);
}

TEST(HistogramSnapshot, EmptyHasNoQuantile) { EXPECT_EQ(HistogramSnapshot{}.Quantile(0.99), 0u); }

}  // namespace
}  // namespace ashlar
