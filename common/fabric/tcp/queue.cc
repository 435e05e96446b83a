#include "common/fabric/tcp/queue.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/fabric/tcp/endpoint.h"

namespace ashlar::fabric::tcp {
namespace {

constexpr int kEventsPerPoll = 64;

absl::Status Register(int epoll, int fd) {
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoStatus(errno, "fabric: epoll of a completion queue");
  return absl::OkStatus();
}

epoll_event EventFor(TcpEndpoint& endpoint, bool want_write) {
  return {.events = EPOLLIN | (want_write ? EPOLLOUT : 0u), .data = {.ptr = &endpoint}};
}

}  // namespace

TcpQueue::TcpQueue(int depth, std::shared_ptr<FabricStats> stats, std::shared_ptr<FabricStats> shm_stats)
    : QueueBase(depth, std::move(stats)), shm_stats_(std::move(shm_stats)), staging_(kStagingBytes) {
  if (shm_stats_ != nullptr) shm_stats_->Add(&shm_counters_);
}

TcpQueue::~TcpQueue() {
  if (shm_stats_ != nullptr) shm_stats_->Remove(&shm_counters_);
}

absl::StatusOr<std::unique_ptr<TcpQueue>> TcpQueue::Create(int depth, std::shared_ptr<FabricStats> stats,
                                                           std::shared_ptr<FabricStats> shm_stats) {
  std::unique_ptr<TcpQueue> queue(new TcpQueue(depth, std::move(stats), std::move(shm_stats)));
  queue->epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  queue->wake_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  queue->timer_.Reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!queue->epoll_.valid() || !queue->wake_.valid() || !queue->timer_.valid()) {
    return ErrnoStatus(errno, "fabric: descriptors of a completion queue");
  }
  ASHLAR_RETURN_IF_ERROR(Register(queue->epoll_.get(), queue->wake_.get()));
  ASHLAR_RETURN_IF_ERROR(Register(queue->epoll_.get(), queue->timer_.get()));
  return queue;
}

absl::Status TcpQueue::Watch(TcpEndpoint& endpoint, const Carrier& carrier, bool want_write) {
  epoll_event event = EventFor(endpoint, want_write && !carrier.polled());
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, carrier.fd(), &event) != 0) {
    return ErrnoStatus(errno, "fabric: epoll of an endpoint");
  }
  if (carrier.polled()) {
    polled_.push_back(&endpoint);
    if (armed()) Wake();  // it has not been told that this side sleeps
  } else {
    watched_.push_back(&endpoint);
    writers_ += want_write ? 1 : 0;
  }
  return absl::OkStatus();
}

void TcpQueue::WantWrite(TcpEndpoint& endpoint, Carrier& carrier, bool want_write) {
  if (carrier.polled()) {  // AskPolled looks, PrepareSleep says so; unless that was before
    if (!want_write || !polled_asleep_) return;
    carrier.PrepareSleep(/*wants_room=*/true);
    if (carrier.HasRoom()) Wake();
    return;
  }
  epoll_event event = EventFor(endpoint, want_write);
  counters().syscalls.Add();
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, carrier.fd(), &event);
  if (want_write) {
    ++writers_;
  } else {
    --writers_;
  }
}

void TcpQueue::Unwatch(TcpEndpoint& endpoint, const Carrier& carrier, bool want_write) {
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, carrier.fd(), nullptr);  // explicitly: a forked child may keep the socket open
  std::erase(polled_, &endpoint);
  if (std::erase(watched_, &endpoint) > 0) writers_ -= want_write ? 1 : 0;
}

void TcpQueue::WatchTime(TcpEndpoint& endpoint) {
  if (std::ranges::find(timed_, &endpoint) == timed_.end()) timed_.push_back(&endpoint);
}

void TcpQueue::Remove(TcpEndpoint& endpoint) { std::erase(timed_, &endpoint); }

void TcpQueue::Progress() {
  if (awake_ || timer_at_ns_ != 0) DrainWakeups();
  if (!timed_.empty()) PassTime();
  if (!polled_.empty()) AskPolled();
  if (watched_.empty()) return;
  const bool drained = std::exchange(drained_, false);
  if (skips_ < kMaxSkips && (after_arm() || drained)) {
    ++skips_;
    return;
  }
  skips_ = 0;
  const std::uint64_t received = counters().bytes_received.value();
  AskSockets();
  drained_ = counters().bytes_received.value() != received;
}

// In the Poll between Arm and sleep the peers must go on believing that this side sleeps, whatever it takes from them: what
// makes no completion (a READ served, an acknowledgement) does not keep the caller from sleeping. Completions do.
void TcpQueue::AskPolled() {
  if (!after_arm()) EndPolledSleep();
  for (std::size_t i = 0; i < polled_.size();) {  // by index: an endpoint that fails takes itself out
    TcpEndpoint* endpoint = polled_[i];
    endpoint->OnPolled();
    if (i < polled_.size() && polled_[i] == endpoint) ++i;
  }
  if (any()) EndPolledSleep();
}

void TcpQueue::EndPolledSleep() {
  if (!std::exchange(polled_asleep_, false)) return;
  for (TcpEndpoint* endpoint : polled_) endpoint->carrier()->Awake(shm_counters_);
}

void TcpQueue::AskSockets() {
  if (watched_.size() <= kDirectEndpoints && writers_ == 0) {
    // By index: an endpoint that fails takes itself out.
    for (std::size_t i = 0; i < watched_.size();) {
      TcpEndpoint* endpoint = watched_[i];
      endpoint->OnReadable();
      if (i < watched_.size() && watched_[i] == endpoint) ++i;
    }
    return;
  }
  std::array<epoll_event, kEventsPerPoll> events;
  counters().syscalls.Add();
  const int count = ::epoll_wait(epoll_.get(), events.data(), kEventsPerPoll, 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    auto* endpoint = static_cast<TcpEndpoint*>(event.data.ptr);
    if (endpoint == nullptr) continue;  // the eventfd or the timerfd, drained above or in the next turn
    if ((event.events & (EPOLLIN | EPOLLERR | EPOLLHUP)) != 0) endpoint->OnReadable();
    if ((event.events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0) endpoint->OnWritable();
  }
}

void TcpQueue::PassTime() {
  const std::uint64_t now_ns = MonotonicNs();
  next_time_ns_ = 0;
  std::erase_if(timed_, [&](TcpEndpoint* endpoint) {
    const std::uint64_t at_ns = endpoint->OnTime(now_ns);
    if (at_ns != 0 && (next_time_ns_ == 0 || at_ns < next_time_ns_)) next_time_ns_ = at_ns;
    return at_ns == 0;
  });
}

void TcpQueue::DrainWakeups() {
  std::uint64_t ignored = 0;
  if (awake_) {
    [[maybe_unused]] const auto n = ::read(wake_.get(), &ignored, sizeof(ignored));
    awake_ = false;
  }
  if (timer_at_ns_ != 0 && MonotonicNs() >= timer_at_ns_) {
    [[maybe_unused]] const auto n = ::read(timer_.get(), &ignored, sizeof(ignored));
    timer_at_ns_ = 0;
  }
}

void TcpQueue::PrepareSleep() {
  for (TcpEndpoint* endpoint : polled_) endpoint->carrier()->PrepareSleep(endpoint->blocked());
  polled_asleep_ = !polled_.empty();
  if (timed_.empty()) return;
  PassTime();
  if (next_time_ns_ == 0 || (timer_at_ns_ != 0 && timer_at_ns_ <= next_time_ns_)) return;
  timer_at_ns_ = next_time_ns_;
  const itimerspec when{.it_interval = {},
                        .it_value = {.tv_sec = static_cast<time_t>(timer_at_ns_ / 1'000'000'000),
                                     .tv_nsec = static_cast<long>(timer_at_ns_ % 1'000'000'000)}};
  counters().syscalls.Add();
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void TcpQueue::Wake() {
  if (awake_) return;
  const std::uint64_t one = 1;
  counters().syscalls.Add();
  awake_ = ::write(wake_.get(), &one, sizeof(one)) == sizeof(one);
}

}  // namespace ashlar::fabric::tcp
