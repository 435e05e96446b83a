// Events of a device that make no completion: without them a call on a broken queue pair would hang to its deadline.
//
// One per device. Whoever's loop sees fd() readable calls Drain, on any thread: each event is acknowledged at once
// (ibv_destroy_qp waits for that) and handed to the mailbox of the queue it concerns, which acts in its own thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include <infiniband/verbs.h>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "common/base/unique_fd.h"
#include "common/fabric/contract.h"

namespace ashlar::fabric::verbs {

// How much an event ends. The peer's port, address tables and paths end nothing: if they matter, retries tell.
enum class Reach : std::uint8_t { kNothing, kEndpoint, kQueue, kDevice };
Reach ReachOf(ibv_event_type type);

// Threads: thread-safe; the mutex is a leaf.
class Mailbox {
 public:
  struct Item {
    EndpointId endpoint;  // 0: every endpoint of the queue
    std::string why;
  };
  explicit Mailbox(UniqueFd wake) : wake_(std::move(wake)) {}
  int fd() const { return wake_.get(); }
  void Put(Item item) ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<Item> Take() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  UniqueFd wake_;
  absl::Mutex mutex_;
  std::vector<Item> items_ ABSL_GUARDED_BY(mutex_);
};

class AsyncEvents {
 public:
  // Makes the context's event descriptor non-blocking.
  explicit AsyncEvents(ibv_context* context);
  int fd() const { return context_->async_fd; }
  void Drain() ABSL_LOCKS_EXCLUDED(mutex_);

  void Add(const ibv_qp* qp, std::shared_ptr<Mailbox> mailbox, EndpointId endpoint) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const ibv_qp* qp) ABSL_LOCKS_EXCLUDED(mutex_);
  void Add(const ibv_cq* cq, std::shared_ptr<Mailbox> mailbox) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(const ibv_cq* cq) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Target {
    std::shared_ptr<Mailbox> mailbox;
    EndpointId endpoint;
  };
  void HandOn(const ibv_async_event& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  ibv_context* const context_;
  absl::Mutex mutex_;  // held while an event is read and acknowledged, so Remove returns with none under way
  absl::flat_hash_map<const ibv_qp*, Target> pairs_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<const ibv_cq*, Target> queues_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ashlar::fabric::verbs
