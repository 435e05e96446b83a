#include "common/fabric/tcp/listener.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/fabric/tcp/endpoint.h"
#include "common/fabric/tcp/socket.h"

namespace ashlar::fabric::tcp {
namespace {

constexpr std::size_t kMaxStrangers = 64;
constexpr std::uint64_t kSilenceNs = 1'000'000'000;

class TcpPendingPeer final : public PendingPeer {
 public:
  TcpPendingPeer(const Doorkeeper& doorkeeper, UniqueFd fd, std::span<const std::byte> hello)
      : doorkeeper_(doorkeeper), fd_(std::move(fd)), address_(doorkeeper.name(fd_.get())), hello_(hello.begin(), hello.end()) {}
  std::span<const std::byte> hello() const override { return hello_; }
  std::string address() const override { return address_; }
  absl::StatusOr<std::unique_ptr<Endpoint>> Accept(Domain& domain, CompletionQueue& queue, const EndpointOptions& options,
                                                   std::span<const std::byte> hello_ack) override {
    if (!fd_.valid()) return absl::FailedPreconditionError("fabric: this peer was accepted already");
    ASHLAR_ASSIGN_OR_RETURN(const CheckedEndpoint::Setup setup, MakeSetup(domain, queue, options, hello_ack, doorkeeper_.kind));
    ASHLAR_ASSIGN_OR_RETURN(std::unique_ptr<Carrier> carrier, doorkeeper_.carrier(std::move(fd_), options.silence_ns));
    return TcpEndpoint::Accepted(setup, static_cast<TcpQueue&>(queue), std::move(carrier), address_, hello_, hello_ack);
  }

 private:
  const Doorkeeper doorkeeper_;
  UniqueFd fd_;
  const std::string address_;
  const std::vector<std::byte> hello_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TcpListener>> TcpListener::Create(UniqueFd socket, std::string address,
                                                                 const Doorkeeper& doorkeeper, std::shared_ptr<FabricStats> stats) {
  std::unique_ptr<TcpListener> listener(new TcpListener(doorkeeper, std::move(stats)));
  listener->socket_ = std::move(socket);
  listener->address_ = std::move(address);
  listener->epoll_.Reset(::epoll_create1(EPOLL_CLOEXEC));
  listener->timer_.Reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (!listener->epoll_.valid() || !listener->timer_.valid() ||
      ::epoll_ctl(listener->epoll_.get(), EPOLL_CTL_ADD, listener->timer_.get(), &event) != 0) {
    return ErrnoStatus(errno, "fabric: descriptors of a listener");
  }
  listener->Listen(true);
  return listener;
}

TcpListener::~TcpListener() { stats_->Remove(&counters_); }

std::unique_ptr<PendingPeer> TcpListener::Accept() {
  TakeNew();
  std::array<epoll_event, kMaxStrangers + 2> events;
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    auto* stranger = static_cast<Stranger*>(events[static_cast<std::size_t>(i)].data.ptr);
    if (stranger != nullptr) ReadHello(*stranger);
  }
  DropSilent();
  Listen(strangers_.size() < kMaxStrangers);
  if (complete_.empty()) return nullptr;
  std::unique_ptr<PendingPeer> peer = std::move(complete_.front());
  complete_.pop_front();
  return peer;
}

// With all places taken the listening socket is no news.
void TcpListener::Listen(bool wanted) {
  if (wanted == listening_) return;
  listening_ = wanted;
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  ::epoll_ctl(epoll_.get(), wanted ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, socket_.get(), &event);
}

void TcpListener::TakeNew() {
  while (strangers_.size() < kMaxStrangers) {
    int error = 0;
    auto stranger = std::make_unique<Stranger>();
    stranger->fd = AcceptOne(socket_.get(), &error);
    if (!stranger->fd.valid()) {
      if (error == ECONNABORTED || error == EINTR) continue;
      if (error != EAGAIN && log_limit_.Allow(MonotonicNs())) {
        log::Warn("fabric: accept failed address={} error={} left_out={}; raise the limit of open files if it is EMFILE", address_,
                  std::strerror(error), log_limit_.TakeLeftOut());
      }
      return;
    }
    if (const absl::Status checked = doorkeeper_.check(stranger->fd.get()); !checked.ok()) {
      Drop(*stranger, std::string(checked.message()));
      continue;
    }
    stranger->until_ns = MonotonicNs() + kSilenceNs;
    epoll_event event{.events = EPOLLIN, .data = {.ptr = stranger.get()}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stranger->fd.get(), &event) != 0) continue;
    strangers_.push_back(std::move(stranger));
    if (strangers_.size() == 1) SetTimer();
  }
}

void TcpListener::ReadHello(Stranger& stranger) {
  std::string_view fault;
  const Progress progress = Read(stranger, &fault);
  if (progress == Progress::kWaiting) return;
  if (progress == Progress::kBad) {
    Drop(stranger, fault);
  } else {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, stranger.fd.get(), nullptr);
    complete_.push_back(std::make_unique<TcpPendingPeer>(
        doorkeeper_, std::move(stranger.fd), std::span(stranger.bytes).subspan(sizeof(FrameHeader), stranger.have - sizeof(FrameHeader))));
  }
  Forget(stranger);
}

// Never reads behind the HELLO: what follows belongs to the endpoint.
TcpListener::Progress TcpListener::Read(Stranger& stranger, std::string_view* fault) {
  FrameHeader header;
  while (true) {
    std::size_t wanted = sizeof(FrameHeader);
    if (stranger.have >= sizeof(FrameHeader)) {
      std::memcpy(&header, stranger.bytes.data(), sizeof(header));
      const FrameFault found = CheckHeader(header, kHelloSeed, 1);
      *fault = Name(found);
      if (found != FrameFault::kNone) return Progress::kBad;
      *fault = "no HELLO";
      if (header.op != FrameOp::kHello || header.ack != 0) return Progress::kBad;
      wanted += header.length;
      if (stranger.have == wanted) return Progress::kComplete;
    }
    const ssize_t n = ::recv(stranger.fd.get(), stranger.bytes.data() + stranger.have, wanted - stranger.have, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return Progress::kWaiting;
    *fault = "closed before its HELLO was whole";
    if (n <= 0) return Progress::kBad;
    stranger.have += static_cast<std::size_t>(n);
  }
}

void TcpListener::Drop(const Stranger& stranger, std::string_view why) {
  counters_.strangers.Add();
  if (!log_limit_.Allow(MonotonicNs())) return;
  log::Warn("fabric: stranger dropped address={} peer={} why=\"{}\" left_out={}", address_, doorkeeper_.name(stranger.fd.get()), why,
            log_limit_.TakeLeftOut());
}

void TcpListener::DropSilent() {
  std::uint64_t ignored = 0;
  [[maybe_unused]] const auto n = ::read(timer_.get(), &ignored, sizeof(ignored));
  const std::uint64_t now_ns = MonotonicNs();
  while (!strangers_.empty() && strangers_.front()->until_ns <= now_ns) {
    Drop(*strangers_.front(), "silent for a second");
    strangers_.erase(strangers_.begin());
  }
  SetTimer();
}

void TcpListener::SetTimer() {
  const std::uint64_t at_ns = strangers_.empty() ? 0 : strangers_.front()->until_ns;
  const itimerspec when{.it_interval = {},
                        .it_value = {.tv_sec = static_cast<time_t>(at_ns / 1'000'000'000),
                                     .tv_nsec = static_cast<long>(at_ns % 1'000'000'000)}};
  ::timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &when, nullptr);
}

void TcpListener::Forget(const Stranger& stranger) {
  std::erase_if(strangers_, [&](const auto& one) { return one.get() == &stranger; });
}

}  // namespace ashlar::fabric::tcp
