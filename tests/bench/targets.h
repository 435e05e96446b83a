// The targets of all benchmarks, in one place: what the project promises itself. A ratio is ours ÷ floor within one run.
#pragma once

#include <optional>
#include <string_view>

namespace ashlar::bench {

enum class Of { kRatio, kP50, kP99 };
enum class Bound { kAtMost, kAtLeast };

struct Target {
  std::string_view bench;
  std::string_view metric;
  Of of = Of::kRatio;
  Bound bound = Bound::kAtMost;
  double value = 0;
};

inline constexpr Target kTargets[] = {
    {"page_fault", "miss_random", Of::kRatio, Bound::kAtMost, 1.15},
    {"page_fault", "miss_random_vs_zram_p99", Of::kRatio, Bound::kAtMost, 0.3},
    {"page_fault", "scan_read_25", Of::kRatio, Bound::kAtMost, 0.2},
    {"page_fault", "scan_write_25", Of::kRatio, Bound::kAtMost, 0.5},
    {"page_fault", "scan_vs_read", Of::kRatio, Bound::kAtLeast, 0.9},
    {"page_fault", "evict_page", Of::kRatio, Bound::kAtMost, 2},
    {"page_fault", "victim_hit", Of::kRatio, Bound::kAtMost, 1.1},
    {"program", "wordcount_25", Of::kRatio, Bound::kAtMost, 1.25},
    {"program", "sort_25", Of::kRatio, Bound::kAtMost, 1.8},
    {"program", "replication_cost", Of::kRatio, Bound::kAtMost, 1.10},
    {"fabric", "tcp_rpc_64", Of::kRatio, Bound::kAtMost, 1.3},
    {"fabric", "tcp_rpc_64_blocking", Of::kRatio, Bound::kAtMost, 1.3},
    {"fabric", "tcp_read_4k", Of::kRatio, Bound::kAtMost, 1.3},
    {"fabric", "tcp_read_4k_blocking", Of::kRatio, Bound::kAtMost, 1.3},
    {"fabric", "tcp_read_4k_d8", Of::kRatio, Bound::kAtLeast, 0.95},
    {"fabric", "tcp_rpc_64_batched", Of::kRatio, Bound::kAtLeast, 2.5},
    {"strace", "getpid_cpu_ns", Of::kP50, Bound::kAtMost, 300},
    {"strace", "bystander_cpu_ns", Of::kP50, Bound::kAtMost, 220},
    {"strace", "idle_cpu_ns", Of::kP50, Bound::kAtMost, 30},
    {"strace", "wall_vs_strace", Of::kP50, Bound::kAtLeast, 50},
    {"strace", "thread_us", Of::kP50, Bound::kAtMost, 10},
    {"strace", "lost_events", Of::kP50, Bound::kAtMost, 0},
    {"replica_log", "append_64", Of::kRatio, Bound::kAtLeast, 0.85},
    {"recovery", "first_fault", Of::kP99, Bound::kAtMost, 1'000'000},  // us
};

inline std::optional<Target> FindTarget(std::string_view bench, std::string_view metric) {
  for (const Target& target : kTargets) {
    if (target.bench == bench && target.metric == metric) return target;
  }
  return std::nullopt;
}

}  // namespace ashlar::bench
