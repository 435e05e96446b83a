// What one completion queue and its endpoints count, and the sum over the queues of a device.
//
// Threads: FabricCounters has one writing thread (the queue's); FabricStats is thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/telemetry/counter.h"
#include "common/telemetry/stat_list.h"

namespace ashlar::fabric {

struct FabricCounters {
  std::array<Counter, 8> requests;  // by Op: posted
  std::array<Counter, 9> failed;    // by Status
  Counter unknown;                  // completions and answers that named no current request: dropped
  Counter bytes_sent;               // payload and headers
  Counter bytes_received;
  Counter syscalls;
  Counter violations;  // frames refused, ours by the peer not counted
  Counter strangers;   // connections dropped before their hello was whole and right
  Counter outstanding;
  std::array<Counter, 5> endpoints;  // by EndpointState: how many are in it now
};

class FabricStats {
 public:
  void Add(const FabricCounters* counters) ABSL_LOCKS_EXCLUDED(mutex_);
  // Keeps the totals of `counters`, which may be destroyed afterwards.
  void Remove(const FabricCounters* counters) ABSL_LOCKS_EXCLUDED(mutex_);
  void CollectStats(std::string_view backend, StatList& stats) const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  mutable absl::Mutex mutex_;
  std::vector<const FabricCounters*> live_ ABSL_GUARDED_BY(mutex_);
  FabricCounters ended_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ashlar::fabric
