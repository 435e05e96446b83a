#include "common/fabric/chaos/queue.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "common/base/status.h"
#include "common/fabric/chaos/endpoint.h"

namespace ashlar::fabric::chaos {
namespace {

// What LegoOS took for an opcode in 2018, as a vendor code.
constexpr auto kPoison = static_cast<std::uint32_t>(-30704);
constexpr std::uint64_t kFailureStatuses = 7;  // kRemoteAccess … kFatal

EndpointId EndpointOf(const Completion& completion) {
  return std::visit([](const auto& ended) { return ended.endpoint; }, completion);
}
WrId WrIdOf(const Completion& completion) {
  return std::visit([](const auto& ended) { return ended.wr_id; }, completion);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChaosQueue>> ChaosQueue::Create(std::unique_ptr<CompletionQueue> inner, FaultPlan& plan) {
  std::unique_ptr<ChaosQueue> queue(new ChaosQueue(std::move(inner), plan));
  queue->epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  queue->wake_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  for (const int fd : {queue->inner_->event_fd(), queue->wake_.get()}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (::epoll_ctl(queue->epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoStatus(errno, "fabric: descriptors of a chaos queue");
  }
  return queue;
}

void ChaosQueue::Join(ChaosEndpoint& endpoint) { endpoints_[endpoint.id()] = &endpoint; }
void ChaosQueue::Leave(ChaosEndpoint& endpoint) { endpoints_.erase(endpoint.id()); }

ChaosEndpoint* ChaosQueue::Find(EndpointId id) {
  const auto found = endpoints_.find(id);
  return found == endpoints_.end() ? nullptr : found->second;
}

int ChaosQueue::Poll(std::span<Completion> out) {
  ++polls_;
  std::uint64_t ignored = 0;
  [[maybe_unused]] const auto n = ::read(wake_.get(), &ignored, sizeof(ignored));
  for (auto& [id, endpoint] : endpoints_) endpoint->OnPoll();
  if (held_.size() < out.size()) {
    std::array<Completion, 32> batch;
    const int count = inner_->Poll(std::span(batch).first(std::min(batch.size(), out.size())));
    for (int i = 0; i < count; ++i) Take(batch[static_cast<std::size_t>(i)]);
  }
  std::size_t given = 0;
  while (given < out.size() && !held_.empty() && held_.front().due_poll <= polls_) {
    out[given++] = held_.front().completion;
    held_.pop_front();
  }
  return static_cast<int>(given);
}

// Puts it, or what has become of it, behind those that wait already.
void ChaosQueue::Take(const Completion& completion) {
  if ((WrIdOf(completion).value() & kOwnBit) != 0) return;
  ChaosEndpoint* endpoint = Find(EndpointOf(completion));
  if (endpoint != nullptr && endpoint->silent()) return;  // nothing comes in any more
  Completion result = completion;
  if (const auto* succeeded = std::get_if<Succeeded>(&completion)) {
    if (plan_.Fires(FaultPoint::kCompletionLost)) return;
    result = Damage(*succeeded, endpoint);
  }
  if (plan_.Fires(FaultPoint::kCompletionLate)) not_before_ = std::max(not_before_, polls_ + 1 + plan_.Draw(64));
  held_.push_back({result, not_before_});
  if (plan_.Fires(FaultPoint::kCompletionTwice)) held_.push_back({result, not_before_});
}

Completion ChaosQueue::Damage(const Succeeded& succeeded, ChaosEndpoint* endpoint) {
  // Nothing succeeds behind the first failure.
  if (endpoint != nullptr && endpoint->made_to_fail()) {
    return Failed{.wr_id = succeeded.wr_id, .endpoint = succeeded.endpoint, .status = Status::kFlushed, .vendor = kPoison};
  }
  if (endpoint != nullptr && plan_.Fires(FaultPoint::kCompletionStatus)) {
    const auto status = static_cast<Status>(2 + plan_.Draw(kFailureStatuses));
    endpoint->MakeFail(absl::UnavailableError("injected: completion.status"));
    return Failed{.wr_id = succeeded.wr_id, .endpoint = succeeded.endpoint, .status = status, .vendor = kPoison};
  }
  Succeeded damaged = succeeded;
  if (damaged.op == Op::kReceiveImm && plan_.Fires(FaultPoint::kFlipImm)) damaged.imm ^= 1u << plan_.Draw(32);
  if (damaged.op == Op::kReceiveImm && plan_.Fires(FaultPoint::kWrongGeneration)) damaged.imm ^= static_cast<std::uint32_t>(1 + plan_.Draw(0xFFF)) << 8;
  return damaged;
}

absl::Status ChaosQueue::Arm() {
  const bool holding = !held_.empty() || std::ranges::any_of(endpoints_, [](const auto& entry) { return entry.second->holds(); });
  const std::uint64_t one = 1;
  if (holding) [[maybe_unused]] const auto n = ::write(wake_.get(), &one, sizeof(one));
  return inner_->Arm();
}

}  // namespace ashlar::fabric::chaos
