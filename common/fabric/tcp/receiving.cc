// The receiving half of TcpEndpoint: bytes become frames, frames find their place. Everything here is the peer's word:
// each number is checked before it is used, and a wrong one ends the connection with a NAK that names it.
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/fabric/names.h"
#include "common/fabric/tcp/endpoint.h"

namespace ashlar::fabric::tcp {

// One read. True: there may be more.
bool TcpEndpoint::ReadSome() {
  const std::span<std::byte> staging = tcp_queue_.staging();
  std::array<iovec, kMaxSlices + 1> parts;
  std::size_t count = 0;
  if (landing_) {
    for (; count < landing_count_ - landing_first_; ++count) parts[count] = landing_parts_[landing_first_ + count];
  }
  if (carry_bytes_ > 0) std::memcpy(staging.data(), carry_.data(), carry_bytes_);
  // Where a read costs no system call, it takes the payload and the next header and nothing else: then no payload is copied
  // twice.
  const std::size_t room = (carrier_->polled() ? sizeof(FrameHeader) : staging.size()) - carry_bytes_;
  const std::size_t expected = landing_ ? landing_left_ : 0;
  parts[count++] = {.iov_base = staging.data() + carry_bytes_, .iov_len = room};
  const ssize_t n = carrier_->Read(std::span(parts).first(count), counters());
  if (n > 0) {
    counters().bytes_received.Add(static_cast<std::uint64_t>(n));
    const std::size_t landed = std::min(static_cast<std::size_t>(n), expected);
    TakeBytes(landed, static_cast<std::size_t>(n) - landed);
    return state() != EndpointState::kError && static_cast<std::size_t>(n) == expected + room;
  }
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  const int error = n < 0 ? errno : write_error_;
  PeerGone(absl::StrCat(landing_ || carry_bytes_ > 0 ? "broke off in the middle of a frame" : "closed the connection without a word",
                        error != 0 ? absl::StrCat(": ", std::strerror(error)) : ""));
  return false;
}

// `landed` bytes went where they belong, `staged` lie in the staging buffer behind what was carried over.
void TcpEndpoint::TakeBytes(std::size_t landed, std::size_t staged) {
  std::span<const std::byte> bytes = tcp_queue_.staging().first(carry_bytes_ + staged);
  carry_bytes_ = 0;
  if (landing_) SkipLanded(landed);
  while (state() != EndpointState::kError) {
    if (landing_) {
      LandCopy(bytes);
      if (landing_left_ > 0) return;
      FinishFrame();
    } else if (bytes.size() >= sizeof(FrameHeader)) {
      std::memcpy(&header_, bytes.data(), sizeof(FrameHeader));
      bytes = bytes.subspan(sizeof(FrameHeader));
      TakeHeader();
    } else {
      std::copy(bytes.begin(), bytes.end(), carry_.begin());
      carry_bytes_ = bytes.size();
      return;
    }
  }
}

void TcpEndpoint::TakeHeader() {
  const FrameFault fault = CheckHeader(header_, options().epoch_seed, static_cast<std::uint32_t>(received_ + 1));
  if (fault != FrameFault::kNone) {
    return Violation(Status::kFatal, absl::StrCat("sent a frame with ", std::string(Name(fault)), " at sequence ", received_ + 1));
  }
  const bool ends = header_.op == FrameOp::kNak || header_.op == FrameOp::kBye;
  if (!ends && (header_.op == FrameOp::kHelloAck) != (phase_ == Phase::kGreeting)) {
    return Violation(Status::kFatal, absl::StrCat("sent ", std::string(Name(header_.op)), " where it has no place"));
  }
  TakeAck(header_.ack);
  if (state() == EndpointState::kError) return;
  switch (header_.op) {
    case FrameOp::kHelloAck: {
      const LocalBytes buffer{.data = hello_buffer_.data(), .bytes = header_.length};
      return Land({&buffer, 1});
    }
    case FrameOp::kSend: return TakeSend();
    case FrameOp::kWrite:
    case FrameOp::kWriteWithImm: return TakeWrite();
    case FrameOp::kRead: return TakeRead();
    case FrameOp::kReadResponse: return TakeReadResponse();
    case FrameOp::kAck: return Land({});
    case FrameOp::kNak: return TakeNak();
    case FrameOp::kBye: return PeerGone("closed the connection");
    case FrameOp::kHello: break;
  }
  Violation(Status::kFatal, "said HELLO twice");
}

// Ends what the peer has placed. READs wait for their bytes.
void TcpEndpoint::TakeAck(std::uint32_t ack) {
  const std::uint32_t news = ack - static_cast<std::uint32_t>(acked_sequence_);
  if (news == 0) return;
  if (news > sent_sequence_ - acked_sequence_) {
    return Violation(Status::kFatal, absl::StrCat("acknowledged sequence ", ack, " of ", sent_sequence_, " sent"));
  }
  acked_sequence_ += news;
  RequestRing& sends = ledger().sends();
  for (next_acked_ = std::max(next_acked_, sends.begin()); next_acked_ < next_start_; ++next_acked_) {
    const LedgerEntry& entry = sends.At(next_acked_);
    if (entry.op == Op::kRevoke) continue;
    if (entry.wire_mark > acked_sequence_) break;
    if (entry.op != Op::kRead) Succeed(LedgerToken(next_acked_));
  }
  RetireDone();
}

void TcpEndpoint::TakeWrite() {
  const WindowTable::Target target = windows().Check(RemoteKey(header_.key), header_.address, header_.length, Access::kRemoteWrite);
  if (target.data == nullptr) {
    return Violation(Status::kRemoteAccess, absl::StrCat("sent a ", std::string(Name(header_.op)), " of ", header_.length,
                                                         " bytes with key ", header_.key, ": ", std::string(target.refusal)));
  }
  if (header_.op == FrameOp::kWriteWithImm && ledger().receives().empty()) {
    return Violation(Status::kRnrExceeded, "sent a WRITE_WITH_IMM and no receive is posted");
  }
  windows().Pin(RemoteKey(header_.key));
  const LocalBytes where{.data = target.data, .bytes = header_.length};
  Land({&where, 1});
}

void TcpEndpoint::TakeSend() {
  RequestRing& receives = ledger().receives();
  if (receives.empty()) return Violation(Status::kRnrExceeded, "sent a SEND and no receive is posted");
  const LedgerEntry& receive = receives.At(receives.begin());
  if (header_.length > receive.bytes) {
    return Violation(Status::kRemoteOperation, absl::StrCat("sent ", header_.length, " bytes into a receive of ", receive.bytes),
                     Ledger::Cause{.side = Ledger::Side::kReceive, .token = LedgerToken(receives.begin()), .status = Status::kLocalLength});
  }
  Land(receive.local());
}

void TcpEndpoint::TakeRead() {
  const RemoteKey key(header_.key);
  const WindowTable::Target target = windows().Check(key, header_.address, header_.length, Access::kRemoteRead);
  if (target.data == nullptr) {
    return Violation(Status::kRemoteAccess, absl::StrCat("sent a READ of ", header_.length, " bytes with key ", header_.key, ": ",
                                                         std::string(target.refusal)));
  }
  if (answers_end_ - answers_begin_ == answers_.size()) {
    return Violation(Status::kRemoteOperation, absl::StrCat("has more than ", answers_.size(), " READs in flight"));
  }
  windows().Pin(key);
  answers_[answers_end_++ % answers_.size()] = {
      .bytes = {.data = target.data, .bytes = header_.length}, .window = key, .sequence = header_.sequence};
  Land({});
}

// Answers come in the order of the READs.
void TcpEndpoint::TakeReadResponse() {
  RequestRing& sends = ledger().sends();
  next_read_ = std::max(next_read_, sends.begin());
  while (next_read_ < next_start_ && (sends.At(next_read_).op != Op::kRead || sends.At(next_read_).done)) ++next_read_;
  if (next_read_ >= next_start_) return Violation(Status::kFatal, "answered a READ that nobody asked for");
  const LedgerEntry& read = sends.At(next_read_);
  if (read.wire_mark > sent_sequence_ || header_.imm != static_cast<std::uint32_t>(read.wire_mark) || header_.length != read.bytes) {
    return Violation(Status::kFatal, absl::StrCat("answered READ ", header_.imm, " with ", header_.length, " bytes; READ ",
                                                  read.wire_mark, " of ", read.bytes, " is next"));
  }
  Land(read.local());
}

void TcpEndpoint::TakeNak() {
  const auto status = static_cast<Status>(header_.key);  // in range: CheckHeader
  RequestRing& sends = ledger().sends();
  std::optional<Ledger::Cause> cause = OldestSend(status);
  for (std::uint64_t position = sends.begin(); position < std::min(next_start_, sends.end()); ++position) {
    const LedgerEntry& entry = sends.At(position);
    if (entry.op != Op::kRevoke && static_cast<std::uint32_t>(entry.wire_mark) == header_.imm) cause->token = LedgerToken(position);
  }
  write_error_ = ECONNRESET;  // the peer has stopped listening
  FailFor(absl::UnavailableError(Reason(absl::StrCat("refused our frame of sequence ", header_.imm, ": ", std::string(fabric::Name(status))))),
          cause);
}

void TcpEndpoint::Land(std::span<const LocalBytes> where) {
  landing_ = true;
  landing_left_ = PayloadBytes(header_);
  landing_first_ = landing_count_ = 0;
  std::uint32_t left = landing_left_;
  for (const LocalBytes& part : where) {
    const std::uint32_t bytes = std::min(part.bytes, left);
    if (bytes > 0) landing_parts_[landing_count_++] = {.iov_base = part.data, .iov_len = bytes};
    left -= bytes;
  }
}

void TcpEndpoint::LandCopy(std::span<const std::byte>& bytes) {
  while (landing_left_ > 0 && !bytes.empty()) {
    const iovec& part = landing_parts_[landing_first_];
    const std::size_t size = std::min(part.iov_len, bytes.size());
    std::memcpy(part.iov_base, bytes.data(), size);
    bytes = bytes.subspan(size);
    SkipLanded(size);
  }
}

void TcpEndpoint::SkipLanded(std::size_t bytes) {
  landing_left_ -= static_cast<std::uint32_t>(bytes);
  while (bytes > 0) {
    iovec& part = landing_parts_[landing_first_];
    const std::size_t size = std::min(part.iov_len, bytes);
    part.iov_base = static_cast<std::byte*>(part.iov_base) + size;
    part.iov_len -= size;
    bytes -= size;
    if (part.iov_len == 0) ++landing_first_;
  }
}

// The frame is placed whole.
void TcpEndpoint::FinishFrame() {
  landing_ = false;
  ++received_;
  const bool urgent = (header_.flags & kFlagAckWanted) != 0;
  switch (header_.op) {
    case FrameOp::kHelloAck:
      phase_ = Phase::kOpen;
      return BecomeReady(std::span(hello_buffer_).first(header_.length));
    case FrameOp::kSend:
      CompleteReceive(Op::kReceive, header_.length, 0);
      return OweAck(urgent);
    case FrameOp::kWrite:
    case FrameOp::kWriteWithImm:
      windows().Unpin(RemoteKey(header_.key));
      if (!windows().InUse(RemoteKey(header_.key))) RetireDone();  // it was the last use of a revoked window
      if (header_.op == FrameOp::kWriteWithImm) CompleteReceive(Op::kReceiveImm, header_.length, header_.imm);
      return OweAck(urgent);
    case FrameOp::kReadResponse:
      --reads_in_flight_;
      Succeed(LedgerToken(next_read_));
      return RetireDone();
    case FrameOp::kHello:
    case FrameOp::kRead:
    case FrameOp::kAck:
    case FrameOp::kNak:
    case FrameOp::kBye: return;
  }
}

}  // namespace ashlar::fabric::tcp
