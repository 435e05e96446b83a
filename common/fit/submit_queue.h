// Work handed to a shard by other threads. Outlives the shard in the hands of whoever may still submit; work that comes
// after Close is dropped.
//
// Threads: thread-safe; mutex_ is a leaf. Only the shard's thread calls Run.
#pragma once

#include <atomic>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"
#include "common/base/unique_fd.h"

namespace ashlar::fit {

class SubmitQueue {
 public:
  explicit SubmitQueue(UniqueFd event_fd) : event_fd_(std::move(event_fd)) {}

  void Submit(absl::AnyInvocable<void()> work) ABSL_LOCKS_EXCLUDED(mutex_);
  int Run() ABSL_LOCKS_EXCLUDED(mutex_);  // what was there when it began
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);
  void Wake();  // makes event_fd readable
  int event_fd() const { return event_fd_.get(); }

 private:
  UniqueFd event_fd_;
  std::atomic<bool> waiting_{false};  // something is in incoming_, or Wake was called; the fd is readable
  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<absl::AnyInvocable<void()>> incoming_ ABSL_GUARDED_BY(mutex_);
  std::vector<absl::AnyInvocable<void()>> running_;  // keeps its capacity; the shard's thread only
};

}  // namespace ashlar::fit
