#include "daemons/pnode/supervisor/call_totals.h"

#include <algorithm>

#include "daemons/pnode/supervisor/syscall_names.h"

namespace ashlar::pnode {
namespace {

template <typename T>
std::uint64_t Load(const T& field) {
  return __atomic_load_n(&field, __ATOMIC_RELAXED);
}

std::uint64_t SmallerUnlessZero(std::uint64_t a, std::uint64_t b) {
  if (a == 0 || b == 0) return std::max(a, b);
  return std::min(a, b);
}

}  // namespace

void CallTotals::Add(const syscall_entry& entry) {
  control::SyscallStats stats{.number = static_cast<std::uint32_t>(Load(entry.nr)),
                              .calls = Load(entry.calls),
                              .errors = Load(entry.errors),
                              .restarted = Load(entry.restarted),
                              .total_ns = Load(entry.total_ns),
                              .min_ns = Load(entry.min_ns),
                              .max_ns = Load(entry.max_ns),
                              .miss_ns = Load(entry.miss_ns),
                              .miss_count = Load(entry.miss_count)};
  for (std::size_t i = 0; i < kBuckets; ++i) stats.histogram[i] = Load(entry.histogram[i]);
  Add(stats);
}

void CallTotals::Add(const control::SyscallStats& stats) {
  control::SyscallStats& sum = by_number_[stats.number];
  sum.number = stats.number;
  sum.calls += stats.calls;
  sum.errors += stats.errors;
  sum.restarted += stats.restarted;
  sum.unreturned += stats.unreturned;
  sum.total_ns += stats.total_ns;
  sum.min_ns = SmallerUnlessZero(sum.min_ns, stats.min_ns);
  sum.max_ns = std::max(sum.max_ns, stats.max_ns);
  sum.miss_ns += stats.miss_ns;
  sum.miss_count += stats.miss_count;
  for (std::size_t i = 0; i < sum.histogram.size(); ++i) sum.histogram[i] += stats.histogram[i];
}

void CallTotals::Add(const CallTotals& other) {
  for (const auto& [number, stats] : other.by_number_) Add(stats);
}

void CallTotals::AddUnreturned(std::uint32_t number) {
  control::SyscallStats& sum = by_number_[number];
  sum.number = number;
  ++sum.unreturned;
}

std::uint64_t CallTotals::calls() const {
  std::uint64_t calls = 0;
  for (const auto& [number, stats] : by_number_) calls += stats.calls;
  return calls;
}

std::vector<control::SyscallStats> CallTotals::List() const {
  std::vector<control::SyscallStats> list;
  for (const auto& [number, stats] : by_number_) {
    if (stats.calls == 0 && stats.unreturned == 0 && stats.miss_count == 0) continue;
    list.push_back(stats);
    list.back().name = SyscallName(number);
  }
  return list;
}

}  // namespace ashlar::pnode
