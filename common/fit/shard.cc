#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>

#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/fit/shard_impl.h"
#include "common/telemetry/log.h"

namespace ashlar::fit {

absl::StatusOr<std::unique_ptr<Shard>> Shard::Create(fabric::Device& device, const ShardOptions& options) {
  return ShardImpl::Create(device, options);
}

struct ShardImpl::OneShot {
  explicit OneShot(absl::AnyInvocable<void()> on_fire) : timer(std::move(on_fire)) {}
  Timer timer;
  std::list<std::unique_ptr<OneShot>>::iterator self;
};

ShardImpl::ShardImpl(fabric::Device& device, const ShardOptions& options)
    : device_(device), options_(options), wheel_(options.clock->NowNs()) {}

absl::StatusOr<std::unique_ptr<ShardImpl>> ShardImpl::Create(fabric::Device& device, const ShardOptions& options) {
  std::unique_ptr<ShardImpl> shard(new ShardImpl(device, options));
  ASHLAR_ASSIGN_OR_RETURN(shard->domain_, device.OpenDomain());
  ASHLAR_ASSIGN_OR_RETURN(shard->queue_, device.OpenQueue(options.queue_depth));
  shard->epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!shard->epoll_.valid()) return ErrnoStatus(errno, "fit: epoll of a shard");
  UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake.valid()) return ErrnoStatus(errno, "fit: eventfd of a shard");
  shard->submitted_ = std::make_shared<SubmitQueue>(std::move(wake));
  for (int fd : {shard->queue_->event_fd(), shard->submitted_->event_fd()}) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    if (::epoll_ctl(shard->epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
      return ErrnoStatus(errno, "fit: add to the epoll of a shard");
  }
  return shard;
}

ShardImpl::~ShardImpl() {
  ASHLAR_CHECK(members_.empty(), "a connection or server outlives its shard; endpoints={}", members_.size());
  submitted_->Close();
}

absl::StatusOr<std::unique_ptr<fabric::Region>> ShardImpl::Register(std::span<std::byte> bytes) {
  return domain_->Register(bytes);
}

int ShardImpl::Poll() {
  turns_.Add();
  in_turn_ = true;
  turn_ns_ = 0;
  FlushAll();  // what was started between two turns does not wait for a look at the sockets
  int happened = PollCompletions();
  FlushAll();
  happened += submitted_->Run();
  std::uint64_t now = turn_ns_ = now_ns();
  if (!fds_.empty() && (fds_due_ || now - fds_seen_ns_ >= kFdPeriodNs)) happened += PollFds(0);
  // Behind the completions: a peer is only silent when nothing of it lies unread here.
  happened += wheel_.Advance(now);
  happened += TickWatched();
  happened += RunDeferred();
  FlushAll();
  in_turn_ = false;
  return happened;
}

int ShardImpl::PollCompletions() {
  int total = 0;
  for (int batch = 0; batch < kMaxBatches; ++batch) {
    int count = queue_->Poll(completions_);
    for (const fabric::Completion& completion : std::span(completions_).first(static_cast<std::size_t>(count))) {
      fabric::EndpointId endpoint = std::visit([](const auto& ended) { return ended.endpoint; }, completion);
      if (endpoint != last_endpoint_ || last_member_ == nullptr) {
        auto found = members_.find(endpoint);
        if (found == members_.end()) {
          completions_unknown_.Add();  // flushed by the destruction of its endpoint
          continue;
        }
        last_endpoint_ = endpoint;
        last_member_ = found->second;
      }
      last_member_->OnCompletion(completion);
    }
    total += count;
    if (count < kBatch) break;
    FlushAll();
  }
  return total;
}

int ShardImpl::PollFds(std::uint64_t wait_ns) {
  timespec timeout{.tv_sec = static_cast<time_t>(wait_ns / 1'000'000'000),
                   .tv_nsec = static_cast<long>(wait_ns % 1'000'000'000)};
  epoll_event events[32];
  int count = ::epoll_pwait2(epoll_.get(), events, 32, &timeout, nullptr);
  fds_seen_ns_ = now_ns();
  fds_due_ = false;
  int happened = 0;
  for (int i = 0; i < count; ++i) {
    auto found = fds_.find(events[i].data.fd);
    if (found == fds_.end()) continue;  // the queue's or the submit queue's, or removed a moment ago
    std::shared_ptr<FdWatch> watch = found->second;
    watch->on_ready();
    ++happened;
  }
  return happened;
}

int ShardImpl::TickWatched() {
  int happened = 0;
  for (std::size_t i = 0; i < watched_.size(); ++i)
    if (watched_[i] != nullptr) happened += watched_[i]->Tick();
  std::erase(watched_, nullptr);
  return happened;
}

int ShardImpl::RunDeferred() {
  int happened = 0;
  for (; !deferred_.empty() && happened < 4096; ++happened) {
    auto work = std::move(deferred_.front());
    deferred_.erase(deferred_.begin());
    std::move(work)();
  }
  return happened;
}

void ShardImpl::FlushAll() {
  for (std::size_t i = 0; i < to_flush_.size(); ++i)
    if (to_flush_[i] != nullptr) to_flush_[i]->Flush();
  to_flush_.clear();
}

void ShardImpl::Detach(fabric::EndpointId endpoint) {
  members_.erase(endpoint);
  if (endpoint == last_endpoint_) last_member_ = nullptr;
}

void ShardImpl::Unwatch(TurnMember& member) {
  std::replace(watched_.begin(), watched_.end(), &member, static_cast<TurnMember*>(nullptr));
}

void ShardImpl::ForgetFlush(TurnMember& member) {
  std::replace(to_flush_.begin(), to_flush_.end(), &member, static_cast<TurnMember*>(nullptr));
}

void ShardImpl::At(std::uint64_t at_ns, absl::AnyInvocable<void()> work) {
  one_shots_.push_back(nullptr);
  auto self = std::prev(one_shots_.end());
  *self = std::make_unique<OneShot>([this, self, work = std::move(work)]() mutable {
    std::move(work)();
    Defer([this, self] { one_shots_.erase(self); });  // not from inside its own timer
  });
  wheel_.Arm((*self)->timer, at_ns);
}

absl::Status ShardImpl::AddFd(int fd, absl::AnyInvocable<void()> on_ready) {
  epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) return ErrnoStatus(errno, "fit: watch a descriptor");
  fds_[fd] = std::make_shared<FdWatch>(FdWatch{std::move(on_ready)});
  fds_due_ = true;
  return absl::OkStatus();
}

void ShardImpl::RemoveFd(int fd) {
  if (fds_.erase(fd) != 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
}

void ShardImpl::Arm() {
  fds_due_ = true;
  ArmQueue();
}

void ShardImpl::ArmQueue() {
  absl::Status armed = queue_->Arm();
  // Without it the shard would sleep on; so it goes on polling instead.
  if (!armed.ok()) {
    log::Error("fit: completion queue cannot be armed status={}", armed);
    submitted_->Wake();
  }
}

void ShardImpl::Sleep() {
  std::uint64_t sleep_ns = kMaxSleepNs;
  if (std::uint64_t next = wheel_.NextNs(); next != 0) {
    std::uint64_t now = now_ns();
    sleep_ns = std::min(sleep_ns, next > now ? next - now : 0);
  }
  sleeps_.Add();
  PollFds(sleep_ns);
}

void ShardImpl::Run(absl::AnyInvocable<void()> on_turn) {
  std::uint64_t idle_since = 0;
  while (!stopping_.load(std::memory_order_acquire)) {
    // Armed, one poll that finds nothing is leave to sleep. A spinning shard arms only once it has spun enough.
    bool may_sleep = options_.spin_ns == 0 || (idle_since != 0 && now_ns() - idle_since >= options_.spin_ns);
    if (may_sleep) ArmQueue();
    int happened = Poll();
    if (on_turn) on_turn();
    if (happened > 0) {
      idle_since = 0;
    } else if (may_sleep) {
      if (idle_since != 0) spin_ns_.Add(now_ns() - idle_since);
      Sleep();
      idle_since = 0;
    } else if (idle_since == 0) {
      idle_since = now_ns();
    }
  }
}

void ShardImpl::Stop() {
  stopping_.store(true, std::memory_order_release);
  submitted_->Wake();
}

void ShardImpl::CollectStats(StatList& stats) const {
  std::string label = "shard=" + std::to_string(options_.index);
  stats.Add("fit_turns_total", turns_, label);
  stats.Add("fit_sleep_total", sleeps_, label);
  stats.Add("fit_spin_ns_total", spin_ns_, label);
  stats.Add("fabric_completion_unknown_total", completions_unknown_, label);
}

}  // namespace ashlar::fit
