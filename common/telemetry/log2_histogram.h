// Latencies in 32 buckets, each twice as wide as the one before: what the supervisor's records hold, because a BPF program can
// find the bucket in a few shifts. (histogram.h, for our own latencies, is finer.)
//
// Bucket 0 holds less than 128 ns, bucket k 2^(k+6) … 2^(k+7)-1 ns, bucket 31 everything from 2^37 ns (137 s) on.
// Threads: pure functions.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ashlar {

using Log2Histogram = std::array<std::uint64_t, 32>;

constexpr std::size_t Log2BucketOf(std::uint64_t ns) {
  const std::uint64_t wide = ns >> 6;
  if (wide == 0) return 0;
  return std::min<std::size_t>(static_cast<std::size_t>(std::bit_width(wide)) - 1, 31);
}

// The smallest value of a bucket, and one past the largest.
constexpr std::uint64_t Log2BucketStart(std::size_t bucket) { return bucket == 0 ? 0 : std::uint64_t{1} << (bucket + 6); }
constexpr std::uint64_t Log2BucketEnd(std::size_t bucket) { return std::uint64_t{1} << (bucket + 7); }

// The value that `fraction` (0 … 1) of all values do not exceed, as if each bucket were filled evenly; clamped to what was
// seen. So it is off by up to a factor of 2. 0: the histogram is empty.
constexpr std::uint64_t Log2Percentile(const Log2Histogram& histogram, double fraction, std::uint64_t min_ns, std::uint64_t max_ns) {
  std::uint64_t count = 0;
  for (const std::uint64_t bucket : histogram) count += bucket;
  if (count == 0) return 0;
  const double wanted = fraction * static_cast<double>(count);
  double below = 0;
  for (std::size_t i = 0; i < histogram.size(); ++i) {
    const double here = static_cast<double>(histogram[i]);
    if (histogram[i] != 0 && below + here >= wanted) {
      const double width = static_cast<double>(Log2BucketEnd(i) - Log2BucketStart(i));
      const double value = static_cast<double>(Log2BucketStart(i)) + width * std::max(0.0, wanted - below) / here;
      return std::clamp(static_cast<std::uint64_t>(value), std::min(min_ns, max_ns), max_ns);
    }
    below += here;
  }
  return max_ns;
}

}  // namespace ashlar
