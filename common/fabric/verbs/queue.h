// The completion queue of the verbs fabric: one ibv_cq, one connection event channel, and the endpoints that use both.
//
// Poll reads the ibv_cq, which costs no system call. The descriptors behind event_fd() (completion channel, connection
// events, device events, time) are looked at after a sleep and every 50 us of polling.
//
// Arming asks for every completion, not for solicited ones alone: by rule N1 a sleeper misses nothing. The flag is passed
// on all the same, for a peer of another kind.
//
// Threads: one at a time. Nothing is allocated per completion.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/fabric/queue.h"
#include "common/fabric/verbs/context.h"
#include "common/fabric/verbs/objects.h"

namespace ashlar::fabric::verbs {

class VerbsEndpoint;

class VerbsQueue final : public QueueBase {
 public:
  // InvalidArgument: deeper than the device allows.
  static absl::StatusOr<std::unique_ptr<VerbsQueue>> Create(std::shared_ptr<DeviceContext> device, int depth);
  ~VerbsQueue() override;

  int event_fd() const override { return epoll_.get(); }

  ibv_cq* cq() const { return cq_.get(); }
  rdma_event_channel* connections() const { return connections_.get(); }
  const std::shared_ptr<Mailbox>& mailbox() const { return mailbox_; }

  void Add(VerbsEndpoint& endpoint);
  // The endpoint's queue pair is gone: what the ibv_cq still says of it is dropped.
  void Forget(const VerbsEndpoint& endpoint);
  void Remove(VerbsEndpoint& endpoint);
  // The endpoint's OnTime is called in each Progress until it returns 0; asleep, at the time it returned last.
  void WatchTime(VerbsEndpoint& endpoint);

  // Hands out what has completed until now. An endpoint calls it before it believes that its peer is gone: the cause may
  // lie here already. Returns how many.
  std::size_t TakeCompletions();

 protected:
  void Progress() override;
  void PrepareSleep() override;
  void Wake() override;

 private:
  static constexpr std::size_t kMaxCompletionsPerTurn = 1024;
  static constexpr std::uint64_t kLookPeriodNs = 50'000;
  static constexpr int kMaxSkips = 2;
  static constexpr unsigned kAcknowledgeEvery = 64;

  VerbsQueue(std::shared_ptr<DeviceContext> device, int depth) : QueueBase(depth, device->stats), device_(std::move(device)) {}
  absl::Status Open(int depth);
  bool ReadMore();
  void Dispatch(const ibv_wc& completion);
  void Look();
  void TakeChannelEvents();
  void TakeConnectionEvents();
  void TakeMail();
  void PassTime();
  VerbsEndpoint* Find(std::uint32_t endpoint_bits) const;
  void FailAll(const std::string& why);

  std::shared_ptr<DeviceContext> device_;
  UniqueFd epoll_;
  UniqueFd timer_;
  std::shared_ptr<Mailbox> mailbox_;  // its descriptor also wakes for completions made while armed
  Owned<rdma_event_channel> connections_;
  Owned<ibv_comp_channel> channel_;
  Owned<ibv_cq> cq_;

  std::vector<ibv_wc> inbox_;  // read from the ibv_cq; [next_, end) not handed out yet
  std::size_t next_ = 0;
  bool taking_ = false;
  bool notify_asked_ = false;  // and its event not read yet
  unsigned unacknowledged_ = 0;
  int skips_ = 0;  // Progresses running between Arm and sleep that looked at no descriptor
  bool slept_ = true;
  std::uint64_t looked_ns_ = 0;
  std::uint64_t next_time_ns_ = 0;  // 0: nobody waits for time
  absl::flat_hash_map<std::uint32_t, VerbsEndpoint*> endpoints_;  // by EndpointBits
  std::vector<VerbsEndpoint*> timed_;
};

}  // namespace ashlar::fabric::verbs
