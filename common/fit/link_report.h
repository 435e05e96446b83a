// How a link stands, for people: what a connection's thread writes down at each change and any thread may read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace ashlar::fit {

enum class LinkState : std::uint8_t { kOpening, kConnecting, kUp, kDraining, kBackOff };

struct LinkReport {
  std::string peer;     // "m1"
  std::string backend;  // "tcp"
  LinkState state = LinkState::kBackOff;
  std::uint64_t since_ns = 0;  // MonotonicNs: since when it is up, or since when it is not
  std::string last_failure;    // empty: none so far
  std::uint64_t losses = 0;    // of a link that was up
  std::uint64_t connection_epoch = 0;  // of the link that is up; 0 = none
};

// Threads: thread-safe; changes are rare, and mutex_ is a leaf.
class LinkJournal {
 public:
  LinkJournal(std::string_view peer, std::string_view backend, std::uint64_t now_ns) {
    report_.peer = std::string(peer);
    report_.backend = std::string(backend);
    report_.since_ns = now_ns;
  }

  void Enter(LinkState state, std::uint64_t connection_epoch, std::uint64_t now_ns) {
    absl::MutexLock lock(&mutex_);
    const bool was_up = report_.state == LinkState::kUp;
    const bool is_up = state == LinkState::kUp;
    if (was_up != is_up) report_.since_ns = now_ns;
    if (was_up && !is_up) ++report_.losses;
    report_.state = state;
    report_.connection_epoch = is_up ? connection_epoch : 0;
  }
  void Failed(std::string_view reason) {
    absl::MutexLock lock(&mutex_);
    report_.last_failure = std::string(reason);
  }
  LinkReport Read() const {
    absl::MutexLock lock(&mutex_);
    return report_;
  }

 private:
  mutable absl::Mutex mutex_;
  LinkReport report_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ashlar::fit
