#include "common/fabric/verbs/queue.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/fabric/verbs/endpoint.h"

namespace ashlar::fabric::verbs {
namespace {

enum Source : std::uint32_t { kChannel, kConnections, kDeviceEvents, kMail, kTimer };

absl::Status Watch(int epoll, int fd, Source source) {
  epoll_event event{.events = EPOLLIN, .data = {.u32 = source}};
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoStatus(errno, "fabric: epoll of a completion queue");
  return absl::OkStatus();
}

void MakeNonBlocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

}  // namespace

absl::StatusOr<std::unique_ptr<VerbsQueue>> VerbsQueue::Create(std::shared_ptr<DeviceContext> device, int depth) {
  std::unique_ptr<VerbsQueue> queue(new VerbsQueue(std::move(device), depth));
  ASHLAR_RETURN_IF_ERROR(queue->Open(depth));
  return queue;
}

absl::Status VerbsQueue::Open(int depth) {
  epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  timer_.Reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  mailbox_ = std::make_shared<Mailbox>(UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)));
  if (!epoll_.valid() || !timer_.valid() || mailbox_->fd() < 0) return ErrnoStatus(errno, "fabric: descriptors of a completion queue");
  connections_.reset(::rdma_create_event_channel());
  if (connections_ == nullptr) return ErrnoStatus(errno, "fabric: rdma_cm event channel; is /dev/infiniband/rdma_cm there?");
  channel_.reset(::ibv_create_comp_channel(device_->context));
  if (channel_ == nullptr) return ErrnoStatus(errno, absl::StrCat("fabric: completion channel on ", device_->name));
  MakeNonBlocking(connections_->fd);
  MakeNonBlocking(channel_->fd);
  cq_.reset(::ibv_create_cq(device_->context, depth, this, channel_.get(), /*comp_vector=*/0));
  if (cq_ == nullptr) return ErrnoStatus(errno, absl::StrCat("fabric: completion queue of ", depth, " on ", device_->name));
  inbox_.reserve(static_cast<std::size_t>(cq_->cqe));
  device_->events->Add(cq_.get(), mailbox_);
  ASHLAR_RETURN_IF_ERROR(Watch(epoll_.get(), channel_->fd, kChannel));
  ASHLAR_RETURN_IF_ERROR(Watch(epoll_.get(), connections_->fd, kConnections));
  ASHLAR_RETURN_IF_ERROR(Watch(epoll_.get(), device_->events->fd(), kDeviceEvents));
  ASHLAR_RETURN_IF_ERROR(Watch(epoll_.get(), mailbox_->fd(), kMail));
  return Watch(epoll_.get(), timer_.get(), kTimer);
}

VerbsQueue::~VerbsQueue() {
  if (cq_ == nullptr) return;
  device_->events->Remove(cq_.get());
  if (unacknowledged_ > 0) ::ibv_ack_cq_events(cq_.get(), unacknowledged_);
}

void VerbsQueue::Add(VerbsEndpoint& endpoint) { endpoints_[EndpointBits(endpoint.id())] = &endpoint; }

void VerbsQueue::Forget(const VerbsEndpoint& endpoint) {
  while (ReadMore()) {
  }
  const std::uint32_t bits = EndpointBits(endpoint.id());
  const auto gone = std::remove_if(inbox_.begin() + static_cast<std::ptrdiff_t>(next_), inbox_.end(),
                                   [bits](const ibv_wc& completion) { return Unpack(completion.wr_id).endpoint == bits; });
  inbox_.erase(gone, inbox_.end());
  endpoints_.erase(bits);
}

void VerbsQueue::Remove(VerbsEndpoint& endpoint) {
  endpoints_.erase(EndpointBits(endpoint.id()));
  std::erase(timed_, &endpoint);
}

void VerbsQueue::WatchTime(VerbsEndpoint& endpoint) {
  if (std::ranges::find(timed_, &endpoint) == timed_.end()) timed_.push_back(&endpoint);
}

VerbsEndpoint* VerbsQueue::Find(std::uint32_t endpoint_bits) const {
  const auto found = endpoints_.find(endpoint_bits);
  return found == endpoints_.end() ? nullptr : found->second;
}

// Appends what the ibv_cq has. False: nothing more.
bool VerbsQueue::ReadMore() {
  std::array<ibv_wc, 32> batch;
  const int count = ::ibv_poll_cq(cq_.get(), static_cast<int>(batch.size()), batch.data());
  if (count <= 0) return false;
  inbox_.insert(inbox_.end(), batch.begin(), batch.begin() + count);
  return count == static_cast<int>(batch.size());
}

std::size_t VerbsQueue::TakeCompletions() {
  if (std::exchange(taking_, true)) return 0;  // an endpoint asks while it is handed one: the loop below goes on
  std::size_t taken = 0;
  for (; taken < kMaxCompletionsPerTurn; ++taken) {
    if (next_ == inbox_.size()) {
      inbox_.clear();
      next_ = 0;
      ReadMore();
      if (inbox_.empty()) break;
    }
    const ibv_wc completion = inbox_[next_++];
    Dispatch(completion);
  }
  taking_ = false;
  return taken;
}

void VerbsQueue::Dispatch(const ibv_wc& completion) {
  const auto read = ReadCompletion(completion);
  const WorkId id = std::visit([](const auto& one) { return one.id; }, read);
  VerbsEndpoint* endpoint = Find(id.endpoint);
  if (endpoint == nullptr) return counters().unknown.Add();
  if (const auto* done = std::get_if<WorkDone>(&read)) {
    endpoint->OnDone(*done);
  } else {
    endpoint->OnFailed(std::get<WorkFailed>(read));
  }
}

void VerbsQueue::Progress() {
  // What completed most likely set off the event that was asked for; left unread it would end the next sleep at once.
  if (TakeCompletions() > 0 && notify_asked_) TakeChannelEvents();
  if (!timed_.empty()) PassTime();
  const bool asked = std::exchange(slept_, false);
  if (after_arm() && skips_ < kMaxSkips) {
    ++skips_;
    slept_ = true;  // the next one may come from sleep
    return;
  }
  skips_ = 0;
  const std::uint64_t now_ns = MonotonicNs();
  if (!asked && now_ns - looked_ns_ < kLookPeriodNs) return;
  looked_ns_ = now_ns;
  Look();
}

void VerbsQueue::Look() {
  std::array<epoll_event, 8> events;
  counters().syscalls.Add();
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    switch (static_cast<Source>(events[static_cast<std::size_t>(i)].data.u32)) {
      case kChannel: TakeChannelEvents(); break;
      case kConnections: TakeConnectionEvents(); break;
      case kDeviceEvents: device_->events->Drain(); break;
      case kMail: TakeMail(); break;
      case kTimer: {
        std::uint64_t ignored = 0;
        [[maybe_unused]] const auto n = ::read(timer_.get(), &ignored, sizeof(ignored));
        break;
      }
    }
  }
  if (count > 0) TakeCompletions();
}

void VerbsQueue::TakeChannelEvents() {
  ibv_cq* cq = nullptr;
  void* context = nullptr;
  counters().syscalls.Add();
  while (::ibv_get_cq_event(channel_.get(), &cq, &context) == 0) {
    notify_asked_ = false;
    if (++unacknowledged_ < kAcknowledgeEvery) continue;
    ::ibv_ack_cq_events(cq_.get(), unacknowledged_);
    unacknowledged_ = 0;
  }
}

// Each event is copied and acknowledged before anything is done with it: rdma_destroy_id waits for that.
void VerbsQueue::TakeConnectionEvents() {
  rdma_cm_event* event = nullptr;
  while (::rdma_get_cm_event(connections_.get(), &event) == 0) {
    auto* endpoint = static_cast<VerbsEndpoint*>(event->id->context);
    ConnectionNews news{.event = EventOf(event->event), .status = event->status, .name = ::rdma_event_str(event->event)};
    if (event->event == RDMA_CM_EVENT_ESTABLISHED && event->param.conn.private_data != nullptr) {
      const auto* bytes = static_cast<const std::byte*>(event->param.conn.private_data);
      news.answer.assign(bytes, bytes + event->param.conn.private_data_len);
    }
    ::rdma_ack_cm_event(event);
    if (endpoint != nullptr) endpoint->OnConnection(news);
  }
}

void VerbsQueue::TakeMail() {
  for (const Mailbox::Item& item : mailbox_->Take()) {
    TakeCompletions();  // the cause may lie there
    if (item.endpoint == EndpointId()) {
      FailAll(item.why);
    } else if (VerbsEndpoint* endpoint = Find(EndpointBits(item.endpoint)); endpoint != nullptr) {
      endpoint->OnDeviceEvent(item.why);
    }
  }
}

void VerbsQueue::FailAll(const std::string& why) {
  while (!endpoints_.empty()) endpoints_.begin()->second->OnDeviceEvent(why);  // which takes it out
}

void VerbsQueue::PassTime() {
  const std::uint64_t now_ns = MonotonicNs();
  next_time_ns_ = 0;
  std::erase_if(timed_, [&](VerbsEndpoint* endpoint) {
    const std::uint64_t at_ns = endpoint->OnTime(now_ns);
    if (at_ns != 0 && (next_time_ns_ == 0 || at_ns < next_time_ns_)) next_time_ns_ = at_ns;
    return at_ns == 0;
  });
}

void VerbsQueue::PrepareSleep() {
  if (!notify_asked_) {
    if (::ibv_req_notify_cq(cq_.get(), /*solicited_only=*/0) != 0) return Wake();  // polls on, and tries again
    notify_asked_ = true;
  }
  if (next_ < inbox_.size()) return Wake();
  if (timed_.empty()) return;
  PassTime();
  if (next_time_ns_ == 0) return;
  const itimerspec when{.it_interval = {},
                        .it_value = {.tv_sec = static_cast<time_t>(next_time_ns_ / 1'000'000'000),
                                     .tv_nsec = static_cast<long>(next_time_ns_ % 1'000'000'000)}};
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void VerbsQueue::Wake() {
  const std::uint64_t one = 1;
  counters().syscalls.Add();
  [[maybe_unused]] const auto n = ::write(mailbox_->fd(), &one, sizeof(one));
}

}  // namespace ashlar::fabric::verbs
