#include "common/fabric/verbs/async_events.h"

#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "common/telemetry/log.h"

namespace ashlar::fabric::verbs {

Reach ReachOf(ibv_event_type type) {
  switch (type) {
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_PATH_MIG_ERR: return Reach::kEndpoint;
    case IBV_EVENT_CQ_ERR: return Reach::kQueue;
    case IBV_EVENT_DEVICE_FATAL: return Reach::kDevice;
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_PORT_ACTIVE:
    case IBV_EVENT_PORT_ERR:
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_PKEY_CHANGE:
    case IBV_EVENT_SM_CHANGE:
    case IBV_EVENT_SRQ_ERR:
    case IBV_EVENT_SRQ_LIMIT_REACHED:
    case IBV_EVENT_QP_LAST_WQE_REACHED:
    case IBV_EVENT_CLIENT_REREGISTER:
    case IBV_EVENT_GID_CHANGE:
    case IBV_EVENT_WQ_FATAL: break;
  }
  return Reach::kNothing;
}

void Mailbox::Put(Item item) {
  absl::MutexLock lock(&mutex_);
  items_.push_back(std::move(item));
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto n = ::write(wake_.get(), &one, sizeof(one));
}

std::vector<Mailbox::Item> Mailbox::Take() {
  absl::MutexLock lock(&mutex_);
  std::uint64_t ignored = 0;
  [[maybe_unused]] const auto n = ::read(wake_.get(), &ignored, sizeof(ignored));
  return std::exchange(items_, {});
}

AsyncEvents::AsyncEvents(ibv_context* context) : context_(context) {
  ::fcntl(context->async_fd, F_SETFL, ::fcntl(context->async_fd, F_GETFL) | O_NONBLOCK);
}

void AsyncEvents::Drain() {
  absl::MutexLock lock(&mutex_);
  ibv_async_event event{};
  while (::ibv_get_async_event(context_, &event) == 0) {
    HandOn(event);
    ::ibv_ack_async_event(&event);
  }
}

void AsyncEvents::HandOn(const ibv_async_event& event) {
  const std::string why = absl::StrCat("the device reports: ", ::ibv_event_type_str(event.event_type));
  switch (ReachOf(event.event_type)) {
    case Reach::kNothing:
      if (event.event_type == IBV_EVENT_COMM_EST) return;
      return log::Info("fabric: RDMA device event device={} event=\"{}\"", ::ibv_get_device_name(context_->device),
                       ::ibv_event_type_str(event.event_type));
    case Reach::kEndpoint: {
      const auto found = pairs_.find(event.element.qp);
      if (found != pairs_.end()) found->second.mailbox->Put({.endpoint = found->second.endpoint, .why = why});
      return;
    }
    case Reach::kQueue: {
      const auto found = queues_.find(event.element.cq);
      if (found != queues_.end()) found->second.mailbox->Put({.endpoint = {}, .why = why});
      return;
    }
    case Reach::kDevice:
      log::Error("fabric: RDMA device failed device={} event=\"{}\"; every connection on it ends: look at the kernel's log",
                 ::ibv_get_device_name(context_->device), ::ibv_event_type_str(event.event_type));
      for (const auto& [cq, target] : queues_) target.mailbox->Put({.endpoint = {}, .why = why});
      return;
  }
}

void AsyncEvents::Add(const ibv_qp* qp, std::shared_ptr<Mailbox> mailbox, EndpointId endpoint) {
  absl::MutexLock lock(&mutex_);
  pairs_[qp] = {.mailbox = std::move(mailbox), .endpoint = endpoint};
}

void AsyncEvents::Remove(const ibv_qp* qp) {
  absl::MutexLock lock(&mutex_);
  pairs_.erase(qp);
}

void AsyncEvents::Add(const ibv_cq* cq, std::shared_ptr<Mailbox> mailbox) {
  absl::MutexLock lock(&mutex_);
  queues_[cq] = {.mailbox = std::move(mailbox), .endpoint = {}};
}

void AsyncEvents::Remove(const ibv_cq* cq) {
  absl::MutexLock lock(&mutex_);
  queues_.erase(cq);
}

}  // namespace ashlar::fabric::verbs
