// The sending half of TcpEndpoint: posted requests and queued answers become frames, frames one writev.
#include <algorithm>
#include <cerrno>

#include "common/fabric/tcp/endpoint.h"

namespace ashlar::fabric::tcp {
namespace {

FrameOp FrameOpOf(Op op) {
  switch (op) {
    case Op::kSend: return FrameOp::kSend;
    case Op::kWrite: return FrameOp::kWrite;
    case Op::kWriteWithImm: return FrameOp::kWriteWithImm;
    case Op::kRead: return FrameOp::kRead;
    case Op::kRevoke:
    case Op::kReceive:
    case Op::kReceiveImm: break;
  }
  ASHLAR_CHECK(false, "no frame for op {}", static_cast<int>(op));
}

}  // namespace

void TcpEndpoint::DoPost() { Flush(); }

void TcpEndpoint::Flush() {
  if ((phase_ != Phase::kOpen && phase_ != Phase::kGreeting) || blocked_ || write_error_ != 0) return;
  do {
    FillOutbox();
  } while (!outbox_.empty() && WriteSome());
}

void TcpEndpoint::FillOutbox() {
  if (phase_ != Phase::kOpen) return;
  for (; answers_begin_ != answers_end_ && outbox_.Fits(1); ++answers_begin_) {
    const Answer& answer = answers_[answers_begin_ % answers_.size()];
    FrameHeader header = NextHeader(FrameOp::kReadResponse);
    header.length = answer.bytes.bytes;
    header.imm = answer.sequence;
    Seal(header, options().epoch_seed);
    outbox_.AddAnswer(header, answer.bytes, answer.window);
  }
  RequestRing& sends = ledger().sends();
  next_start_ = std::max(next_start_, sends.begin());
  for (; next_start_ != sends.end(); ++next_start_) {
    LedgerEntry& entry = sends.At(next_start_);
    if (entry.op == Op::kRevoke) continue;
    if (!MayStart(entry) || !outbox_.Fits(entry.op == Op::kRead ? 0 : entry.slice_count)) return;
    AddRequest(entry);
  }
}

bool TcpEndpoint::MayStart(const LedgerEntry& entry) const {
  if (entry.fence && reads_in_flight_ > 0) return false;
  return entry.op != Op::kRead || reads_in_flight_ < kCaps.max_reads;
}

void TcpEndpoint::AddRequest(LedgerEntry& entry) {
  entry.wire_mark = next_sequence_;
  FrameHeader header = NextHeader(FrameOpOf(entry.op));
  header.length = entry.bytes;
  if (entry.solicited) header.flags |= kFlagSolicited;
  if (ledger().sends().room() < ledger().sends().capacity() / 2) header.flags |= kFlagAckWanted;
  if (entry.op != Op::kSend) {
    header.key = entry.key.value();
    header.address = entry.remote_address;
  }
  if (entry.op == Op::kWriteWithImm) header.imm = entry.imm;
  Seal(header, options().epoch_seed);
  if (entry.op == Op::kRead) {
    ++reads_in_flight_;
    outbox_.Add(header, {});
  } else {
    outbox_.Add(header, entry.local());
  }
}

void TcpEndpoint::AddControl(FrameOp op, Status status, std::uint32_t answered) {
  if (!outbox_.Fits(0)) return;  // then frames are waiting, and the next one carries the acknowledgement
  FrameHeader header = NextHeader(op);
  if (op == FrameOp::kNak) {
    header.key = static_cast<std::uint32_t>(status);
    header.imm = answered;
  }
  Seal(header, options().epoch_seed);
  outbox_.Add(header, {});
}

// Every header carries the acknowledgement of all that was placed, so nothing is owed afterwards.
FrameHeader TcpEndpoint::NextHeader(FrameOp op) {
  FrameHeader header;
  header.op = op;
  header.sequence = static_cast<std::uint32_t>(next_sequence_++);
  header.ack = static_cast<std::uint32_t>(received_);
  unacked_ = 0;
  ack_urgent_ = false;
  ack_owed_since_ns_ = 0;
  return header;
}

// One writev of the outbox. True: all of it is out.
bool TcpEndpoint::WriteSome() {
  const std::span<const iovec> parts = outbox_.Parts();
  const std::size_t wanted = outbox_.bytes();
  const ssize_t n = carrier_->Write(parts, counters());
  if (n < 0) {
    if (errno == EAGAIN || errno == EINTR) {
      SetBlocked(true);
    } else {
      write_error_ = errno;
    }
    return false;
  }
  counters().bytes_sent.Add(static_cast<std::uint64_t>(n));
  bool unpinned = false;
  outbox_.Written(static_cast<std::size_t>(n), [&](const Outbox::Gone& gone) {
    ++sent_sequence_;
    if (!gone.answer) return;
    windows().Unpin(gone.window);
    unpinned = true;
  });
  if (unpinned) RetireDone();
  if (static_cast<std::size_t>(n) == wanted) return true;
  SetBlocked(true);
  return false;
}

void TcpEndpoint::SetBlocked(bool blocked) {
  if (blocked == blocked_) return;
  blocked_ = blocked;
  tcp_queue_.WantWrite(*this, *carrier_, blocked);
}

void TcpEndpoint::OweAck(bool urgent) {
  ack_urgent_ |= urgent;
  if (++unacked_ == 1) tcp_queue_.WatchTime(*this);
}

}  // namespace ashlar::fabric::tcp
