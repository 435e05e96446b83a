#include "common/fit/submit_queue.h"

#include <sys/eventfd.h>

#include <cstdint>
#include <utility>

namespace ashlar::fit {

void SubmitQueue::Submit(absl::AnyInvocable<void()> work) {
  {
    absl::MutexLock lock(&mutex_);
    if (closed_) return;  // `work` is destroyed outside the lock
    incoming_.push_back(std::move(work));
  }
  Wake();
}

void SubmitQueue::Wake() {
  if (waiting_.exchange(true, std::memory_order_acq_rel)) return;
  // Fails only when the counter is full, and then the fd is readable anyway.
  [[maybe_unused]] int ignored = ::eventfd_write(event_fd_.get(), 1);
}

int SubmitQueue::Run() {
  if (!waiting_.load(std::memory_order_acquire)) return 0;
  eventfd_t count;
  [[maybe_unused]] int ignored = ::eventfd_read(event_fd_.get(), &count);
  waiting_.store(false, std::memory_order_release);
  // Whoever submits from here on writes the fd again.
  {
    absl::MutexLock lock(&mutex_);
    std::swap(running_, incoming_);
  }
  int count_run = static_cast<int>(running_.size());
  for (auto& work : running_) std::move(work)();
  running_.clear();
  return count_run;
}

void SubmitQueue::Close() {
  std::vector<absl::AnyInvocable<void()>> dropped;
  absl::MutexLock lock(&mutex_);
  closed_ = true;
  std::swap(dropped, incoming_);
}

}  // namespace ashlar::fit
