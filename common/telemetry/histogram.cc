#include "common/telemetry/histogram.h"

#include <algorithm>
#include <bit>

namespace ashlar {

std::size_t HistogramSnapshot::BucketOf(std::uint64_t value) {
  if (value < 4) return static_cast<std::size_t>(value);
  const unsigned exponent = static_cast<unsigned>(std::bit_width(value)) - 1;  // >= 2
  const std::uint64_t quarter = (value >> (exponent - 2)) & 3;
  return std::size_t{exponent} * 4 - 4 + static_cast<std::size_t>(quarter);
}

std::uint64_t HistogramSnapshot::UpperBound(std::size_t bucket) {
  if (bucket < 4) return bucket;
  const std::uint64_t exponent = bucket / 4 + 1;
  const std::uint64_t quarter = bucket % 4;
  const std::uint64_t width = std::uint64_t{1} << (exponent - 2);
  return (std::uint64_t{1} << exponent) + quarter * width + (width - 1);
}

void HistogramSnapshot::Merge(const HistogramSnapshot& other) {
  for (std::size_t i = 0; i < kBuckets; ++i) buckets[i] += other.buckets[i];
  count += other.count;
  sum += other.sum;
  max = std::max(max, other.max);
}

std::uint64_t HistogramSnapshot::Quantile(double fraction) const {
  if (count == 0) return 0;
  const double wanted = std::max(1.0, fraction * static_cast<double>(count));
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < kBuckets; ++i) {
    seen += buckets[i];
    if (static_cast<double>(seen) >= wanted) return std::min(UpperBound(i), max);
  }
  return max;
}

HistogramSnapshot Histogram::Snapshot() const {
  HistogramSnapshot snapshot;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    snapshot.buckets[i] = buckets_[i].load(std::memory_order_relaxed);
    snapshot.count += snapshot.buckets[i];
  }
  snapshot.sum = sum_.load(std::memory_order_relaxed);
  snapshot.max = max_.load(std::memory_order_relaxed);
  return snapshot;
}

}  // namespace ashlar
