// The completion queue of the tcp fabric: polls the sockets of its endpoints and keeps their time.
//
// event_fd() is an epoll with the sockets (level-triggered, so bytes not read yet keep it readable), an eventfd for
// completions that were made while nobody polled, and a timerfd for what waits for time. With one or two endpoints Poll
// reads the sockets directly: one system call less per message than asking epoll first.
//
// Two Polls ask no socket at all, for most often there is nothing: the one right behind a Poll that took what had come (the
// next one asks), and the one between Arm and sleep (bytes that came meanwhile end the sleep before it begins). Never more
// than two running, so a loop that arms before each Poll gets on as well. Endpoints on shared memory are asked each time:
// it costs a load each.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "common/fabric/queue.h"
#include "common/fabric/tcp/carrier.h"

namespace ashlar::fabric::tcp {

class TcpEndpoint;

class TcpQueue final : public QueueBase {
 public:
  // `shm_stats`: where endpoints on shared memory are counted; may be empty if there are none.
  static absl::StatusOr<std::unique_ptr<TcpQueue>> Create(int depth, std::shared_ptr<FabricStats> stats,
                                                          std::shared_ptr<FabricStats> shm_stats = nullptr);
  ~TcpQueue() override;

  int event_fd() const override { return epoll_.get(); }

  // `want_write`: also tell when it can be written (or has connected).
  absl::Status Watch(TcpEndpoint& endpoint, const Carrier& carrier, bool want_write);
  void WantWrite(TcpEndpoint& endpoint, Carrier& carrier, bool want_write);
  void Unwatch(TcpEndpoint& endpoint, const Carrier& carrier, bool want_write);

  // What the endpoints on shared memory count.
  FabricCounters& shm_counters() { return shm_counters_; }

  // The endpoint's OnTime is called in each Progress until it returns 0; asleep, at the time it returned last.
  void WatchTime(TcpEndpoint& endpoint);
  void Remove(TcpEndpoint& endpoint);

  // Where bytes that belong to no region yet are read to. Only inside one endpoint's turn.
  std::span<std::byte> staging() { return staging_; }

 protected:
  void Progress() override;
  void PrepareSleep() override;
  void Wake() override;

 private:
  static constexpr std::size_t kStagingBytes = 64u << 10;
  static constexpr std::size_t kDirectEndpoints = 2;
  static constexpr int kMaxSkips = 2;

  TcpQueue(int depth, std::shared_ptr<FabricStats> stats, std::shared_ptr<FabricStats> shm_stats);
  void AskPolled();
  void EndPolledSleep();
  void AskSockets();
  void PassTime();
  void DrainWakeups();

  UniqueFd epoll_;
  UniqueFd wake_;
  UniqueFd timer_;
  int skips_ = 0;                     // Progresses running that asked no socket
  bool drained_ = false;              // the last one that did took bytes
  bool awake_ = false;                // wake_ is readable
  std::uint64_t timer_at_ns_ = 0;     // 0 = not set
  std::size_t writers_ = 0;           // endpoints that wait to write or to connect
  std::shared_ptr<FabricStats> shm_stats_;
  FabricCounters shm_counters_;
  std::vector<TcpEndpoint*> watched_;  // on sockets
  std::vector<TcpEndpoint*> polled_;   // on shared memory
  bool polled_asleep_ = false;         // they were told that this side sleeps
  std::vector<TcpEndpoint*> timed_;
  std::uint64_t next_time_ns_ = 0;    // the earliest any of timed_ asked for; 0 = none
  std::vector<std::byte> staging_;
};

}  // namespace ashlar::fabric::tcp
