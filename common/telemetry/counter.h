// A counter that one thread writes and any thread reads: a plain add, no lock, no shared cache line if the owner keeps
// its counters together. Sums over threads are made by the reader.
#pragma once

#include <atomic>
#include <cstdint>

namespace ashlar {

class Counter {
 public:
  void Add(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed); }
  void Sub(std::uint64_t n = 1) { value_.store(value_.load(std::memory_order_relaxed) - n, std::memory_order_relaxed); }
  void Set(std::uint64_t n) { value_.store(n, std::memory_order_relaxed); }
  void Max(std::uint64_t n) {
    if (n > value()) Set(n);
  }
  std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

}  // namespace ashlar
