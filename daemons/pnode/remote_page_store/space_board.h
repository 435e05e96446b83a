// Where each space stands, for people: written by the store's thread at each change, read by any.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/synchronization/mutex.h"
#include "common/base/ids.h"
#include "daemons/pnode/remote_page_store/rehoming.h"

namespace ashlar::pnode {

struct SpaceReport {
  SpaceId space;
  Epoch epoch;
  std::string home;  // empty: none now
  RehomeState state = RehomeState::kServed;
  std::uint64_t extents = 0;            // with pages, or mapped
  std::uint64_t extents_to_refill = 0;  // when the last home was left
  std::uint64_t extents_refilled = 0;   // of these
  std::uint64_t left_at_ns = 0;         // MonotonicNs of the last home's loss; 0 = never
};

// Threads: thread-safe. mutex_ is a leaf; changes are rare (a state, an extent), not per page.
class SpaceBoard {
 public:
  void Put(SpaceReport report) {
    absl::MutexLock lock(&mutex_);
    reports_[report.space] = std::move(report);
  }
  void Remove(SpaceId space) {
    absl::MutexLock lock(&mutex_);
    reports_.erase(space);
  }
  std::vector<SpaceReport> Read() const {
    absl::MutexLock lock(&mutex_);
    std::vector<SpaceReport> all;
    for (const auto& [id, report] : reports_) all.push_back(report);
    return all;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::btree_map<SpaceId, SpaceReport> reports_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ashlar::pnode
