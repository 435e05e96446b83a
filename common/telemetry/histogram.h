// Log-linear histogram of durations or sizes: 4 sub-buckets per power of two, so a value read back is at most 25 % too
// high. One thread writes (a plain add), any thread may read a snapshot, which can lag by the additions of the moment.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ashlar {

// What a reader takes: plain numbers, which can be added up over threads and nodes.
struct HistogramSnapshot {
  static constexpr std::size_t kBuckets = 64 * 4;
  std::array<std::uint64_t, kBuckets> buckets{};
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  std::uint64_t max = 0;

  void Merge(const HistogramSnapshot& other);
  // The smallest bucket bound with at least `fraction` (0…1) of the values at or below it, never above max; 0 if empty.
  std::uint64_t Quantile(double fraction) const;

  static std::size_t BucketOf(std::uint64_t value);
  static std::uint64_t UpperBound(std::size_t bucket);  // largest value of that bucket
};

class Histogram {
 public:
  void Add(std::uint64_t value) {
    Bump(buckets_[HistogramSnapshot::BucketOf(value)], 1);
    Bump(sum_, value);
    if (value > max_.load(std::memory_order_relaxed)) max_.store(value, std::memory_order_relaxed);
  }
  HistogramSnapshot Snapshot() const;

 private:
  static void Bump(std::atomic<std::uint64_t>& cell, std::uint64_t by) {
    cell.store(cell.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  std::array<std::atomic<std::uint64_t>, HistogramSnapshot::kBuckets> buckets_{};
  std::atomic<std::uint64_t> sum_{0};
  std::atomic<std::uint64_t> max_{0};
};

}  // namespace ashlar
