#include "common/fabric/tcp/endpoint.h"

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/fabric/names.h"

namespace ashlar::fabric::tcp {
namespace {

// How long a connection that refused a frame waits for the peer to read why.
constexpr std::uint64_t kLingerNs = 500'000'000;
// An acknowledgement waits so long for a frame to travel in, and for so many frames.
constexpr std::uint64_t kAckDelayNs = 1'000'000;
constexpr std::uint32_t kAckFrames = 16;
// Reads of one endpoint before the next one has its turn.
constexpr int kReadsPerTurn = 4;
constexpr int kPolledReadsPerTurn = 64;  // such a read takes one frame

}  // namespace

TcpEndpoint::TcpEndpoint(const Setup& setup, TcpQueue& queue, std::unique_ptr<Carrier> carrier, std::string peer_name, Phase phase)
    : CheckedEndpoint(setup), tcp_queue_(queue), carrier_(std::move(carrier)), peer_name_(std::move(peer_name)), phase_(phase) {}

absl::StatusOr<std::unique_ptr<TcpEndpoint>> TcpEndpoint::Connecting(const Setup& setup, TcpQueue& queue,
                                                                     std::unique_ptr<Carrier> carrier, const Dial& dial) {
  std::unique_ptr<TcpEndpoint> endpoint(new TcpEndpoint(setup, queue, std::move(carrier), dial.address, Phase::kDialling));
  endpoint->own_hello_.assign(dial.hello.begin(), dial.hello.end());
  endpoint->deadline_ns_ = dial.deadline_ns;
  endpoint->dial_error_ = dial.connect_error;
  endpoint->blocked_ = true;  // writable = connected
  ASHLAR_RETURN_IF_ERROR(queue.Watch(*endpoint, *endpoint->carrier_, /*want_write=*/true));
  endpoint->watched_ = true;
  queue.WatchTime(*endpoint);
  return endpoint;
}

absl::StatusOr<std::unique_ptr<TcpEndpoint>> TcpEndpoint::Accepted(const Setup& setup, TcpQueue& queue,
                                                                   std::unique_ptr<Carrier> carrier, std::string peer_name, std::span<const std::byte> peer_hello,
                                                                   std::span<const std::byte> hello_ack) {
  std::unique_ptr<TcpEndpoint> endpoint(new TcpEndpoint(setup, queue, std::move(carrier), std::move(peer_name), Phase::kOpen));
  ASHLAR_RETURN_IF_ERROR(queue.Watch(*endpoint, *endpoint->carrier_, /*want_write=*/false));
  endpoint->watched_ = true;
  endpoint->own_hello_.assign(hello_ack.begin(), hello_ack.end());
  endpoint->received_ = 1;  // the HELLO
  endpoint->SendHello(FrameOp::kHelloAck);
  endpoint->BecomeReady(peer_hello);
  return endpoint;
}

TcpEndpoint::~TcpEndpoint() {
  Close();
  CloseSocket();
  tcp_queue_.Remove(*this);
}

void TcpEndpoint::SendHello(FrameOp op) {
  hello_bytes_ = {.data = own_hello_.data(), .bytes = static_cast<std::uint32_t>(own_hello_.size())};
  FrameHeader header = NextHeader(op);
  header.length = hello_bytes_.bytes;
  Seal(header, op == FrameOp::kHello ? kHelloSeed : options().epoch_seed);
  outbox_.Add(header, {&hello_bytes_, 1});
  Flush();
}

void TcpEndpoint::OnReadable() {
  switch (phase_) {
    case Phase::kDialling:
    case Phase::kClosed: return;
    case Phase::kLingering: return DiscardInput();
    case Phase::kGreeting:
    case Phase::kOpen: break;
  }
  const int turns = carrier_->polled() ? kPolledReadsPerTurn : kReadsPerTurn;
  for (int turn = 0; turn < turns && ReadSome(); ++turn) {
  }
  Flush();
}

void TcpEndpoint::OnPolled() {
  if (phase_ == Phase::kDialling || (blocked_ && carrier_->HasRoom())) OnWritable();
  OnReadable();
}

void TcpEndpoint::OnWritable() {
  if (phase_ == Phase::kDialling) return FinishDial();
  if (phase_ != Phase::kGreeting && phase_ != Phase::kOpen) return;
  SetBlocked(false);
  Flush();
}

void TcpEndpoint::FinishDial() {
  const int error = carrier_->ConnectError();
  if (error != 0) return PeerGone(absl::StrCat("can't be reached: ", std::strerror(error)));
  carrier_->Tune(options().silence_ns);
  phase_ = Phase::kGreeting;
  SetBlocked(false);
  SendHello(FrameOp::kHello);
}

std::uint64_t TcpEndpoint::OnTime(std::uint64_t now_ns) {
  switch (phase_) {
    case Phase::kDialling:
    case Phase::kGreeting:
      if (dial_error_ != 0) {
        PeerGone(absl::StrCat("can't be reached: ", std::strerror(dial_error_)));
        return 0;
      }
      if (now_ns < deadline_ns_) return deadline_ns_;
      PeerGone("did not answer the connection in time");
      return 0;
    case Phase::kLingering:
      if (now_ns < deadline_ns_) return deadline_ns_;
      CloseSocket();
      return 0;
    case Phase::kOpen: break;
    case Phase::kClosed: return 0;
  }
  if (unacked_ == 0 || blocked_) return 0;
  if (ack_owed_since_ns_ == 0) ack_owed_since_ns_ = now_ns;
  const std::uint64_t at_ns = ack_owed_since_ns_ + kAckDelayNs;
  if (!ack_urgent_ && unacked_ < kAckFrames && now_ns < at_ns) return at_ns;
  AddControl(FrameOp::kAck);
  Flush();
  return 0;
}

void TcpEndpoint::PeerGone(std::string_view how) {
  if (write_error_ == 0) write_error_ = ECONNRESET;  // no good-bye to nobody
  FailFor(absl::UnavailableError(Reason(how)), OldestSend(Status::kRetryExceeded));
}

void TcpEndpoint::Violation(Status status, std::string_view what, std::optional<Ledger::Cause> own_cause) {
  counters().violations.Add();
  if (!outbox_.torn() && !blocked_ && write_error_ == 0) {
    DropUnsent();
    AddControl(FrameOp::kNak, status, static_cast<std::uint32_t>(received_ + 1));
    WriteSome();
    Linger();
  }
  FailFor(absl::UnavailableError(Reason(what)), own_cause);
}

void TcpEndpoint::DoFail() {
  if (landing_ && (header_.op == FrameOp::kWrite || header_.op == FrameOp::kWriteWithImm)) windows().Unpin(RemoteKey(header_.key));
  landing_ = false;
  const bool torn = outbox_.torn();
  DropUnsent();
  if (phase_ == Phase::kLingering) return;
  if (phase_ == Phase::kOpen && !torn && !blocked_ && write_error_ == 0) {
    AddControl(FrameOp::kBye);
    WriteSome();
    DropUnsent();
  }
  CloseSocket();
}

// Nothing of ours is read from regions any more. The sequence goes back to what the peer has seen.
void TcpEndpoint::DropUnsent() {
  outbox_.Clear([this](const Outbox::Gone& gone) {
    if (gone.answer) windows().Unpin(gone.window);
  });
  for (; answers_begin_ != answers_end_; ++answers_begin_) windows().Unpin(answers_[answers_begin_ % answers_.size()].window);
  next_sequence_ = sent_sequence_ + 1;
}

// Closing at once would answer bytes not read yet by a reset, and a reset may overtake the NAK.
void TcpEndpoint::Linger() {
  carrier_->EndWriting();
  phase_ = Phase::kLingering;
  deadline_ns_ = MonotonicNs() + kLingerNs;
  tcp_queue_.WatchTime(*this);
}

void TcpEndpoint::DiscardInput() {
  const std::span<std::byte> staging = tcp_queue_.staging();
  const iovec part{.iov_base = staging.data(), .iov_len = staging.size()};
  const ssize_t n = carrier_->Read({&part, 1}, counters());
  if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) CloseSocket();
}

void TcpEndpoint::CloseSocket() {
  if (phase_ == Phase::kClosed) return;
  phase_ = Phase::kClosed;
  if (watched_) tcp_queue_.Unwatch(*this, *carrier_, blocked_);
  watched_ = blocked_ = false;
  carrier_.reset();
}

std::string TcpEndpoint::Reason(std::string_view what) const {
  return absl::StrCat("fabric: peer ", peer_name_, " ", std::string(what));
}

}  // namespace ashlar::fabric::tcp
