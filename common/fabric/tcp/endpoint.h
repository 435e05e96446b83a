// One end of a connection that is a stream: turns posted requests into frames and frames into bytes in regions. The stream
// is a socket, or rings in shared memory (carrier.h).
//
// Sending: Post writes at once, one writev for the batch, because FIT collects its batches itself and a turn of the loop
// waited for would be latency. What the socket does not take waits in the ledger and goes out in Poll. Receiving goes on
// while sending is blocked, so two full sockets can't lock each other.
// Receiving: one readv takes the rest of the announced payload straight into its region and what follows into the queue's
// staging buffer. A header is copied out, checked, and only then says where the payload goes.
//
// Threads: one at a time. Nothing is allocated after construction.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "common/fabric/endpoint.h"
#include "common/fabric/tcp/carrier.h"
#include "common/fabric/tcp/frame.h"
#include "common/fabric/tcp/outbox.h"
#include "common/fabric/tcp/queue.h"

namespace ashlar::fabric::tcp {

inline constexpr Caps kCaps{.max_inline = 0, .max_slices = kMaxSlices, .max_message = kMaxMessageBytes, .max_reads = 32};

class TcpEndpoint final : public CheckedEndpoint {
 public:
  // The side that connects: the carrier is on its way, `connect_error` an errno met already.
  struct Dial {
    std::string address;
    std::span<const std::byte> hello;
    std::uint64_t deadline_ns = 0;
    int connect_error = 0;
  };
  static absl::StatusOr<std::unique_ptr<TcpEndpoint>> Connecting(const Setup& setup, TcpQueue& queue,
                                                                 std::unique_ptr<Carrier> carrier, const Dial& dial);
  // The side that accepted: the peer's HELLO was read and nothing else.
  static absl::StatusOr<std::unique_ptr<TcpEndpoint>> Accepted(const Setup& setup, TcpQueue& queue,
                                                               std::unique_ptr<Carrier> carrier, std::string peer_name,
                                                               std::span<const std::byte> peer_hello,
                                                               std::span<const std::byte> hello_ack);
  ~TcpEndpoint() override;

  // By the queue.
  void OnReadable();
  void OnWritable();
  void OnPolled();  // of a polled carrier: whatever there is to do
  Carrier* carrier() { return carrier_.get(); }  // nullptr: closed
  bool blocked() const { return blocked_; }
  std::uint64_t OnTime(std::uint64_t now_ns);  // when it wants to be asked next; 0 = not at all

 protected:
  void DoPost() override;
  void DoFail() override;

 private:
  enum class Phase : std::uint8_t { kDialling, kGreeting, kOpen, kLingering, kClosed };
  struct Answer {
    LocalBytes bytes;
    RemoteKey window;
    std::uint32_t sequence = 0;  // of the READ
  };

  TcpEndpoint(const Setup& setup, TcpQueue& queue, std::unique_ptr<Carrier> carrier, std::string peer_name, Phase phase);

  // endpoint.cc: life
  void SendHello(FrameOp op);
  void FinishDial();
  void PeerGone(std::string_view how);
  // The frame just read is refused: NAK, then the end of the connection.
  void Violation(Status status, std::string_view what, std::optional<Ledger::Cause> own_cause = std::nullopt);
  void DropUnsent();
  void Linger();
  void DiscardInput();
  void CloseSocket();
  std::string Reason(std::string_view what) const;

  // sending.cc
  void Flush();
  void FillOutbox();
  bool MayStart(const LedgerEntry& entry) const;
  void AddRequest(LedgerEntry& entry);
  void AddControl(FrameOp op, Status status = Status::kFatal, std::uint32_t answered = 0);
  FrameHeader NextHeader(FrameOp op);
  bool WriteSome();
  void SetBlocked(bool blocked);
  void OweAck(bool urgent);

  // receiving.cc
  bool ReadSome();
  void TakeBytes(std::size_t landed, std::size_t staged);
  void TakeHeader();
  void TakeAck(std::uint32_t ack);
  void TakeWrite();
  void TakeSend();
  void TakeRead();
  void TakeReadResponse();
  void TakeNak();
  void Land(std::span<const LocalBytes> where);
  void LandCopy(std::span<const std::byte>& bytes);
  void SkipLanded(std::size_t bytes);
  void FinishFrame();

  TcpQueue& tcp_queue_;
  std::unique_ptr<Carrier> carrier_;
  const std::string peer_name_;
  Phase phase_;
  bool watched_ = false;
  bool blocked_ = false;  // waits for room, or to be connected
  int dial_error_ = 0;
  int write_error_ = 0;   // an errno; surfaces when reading has shown what the peer still said
  std::uint64_t deadline_ns_ = 0;  // of dialling, greeting or lingering
  std::vector<std::byte> own_hello_;
  LocalBytes hello_bytes_;  // the same, as the outbox wants it

  // Sequences are 32 bits on the wire and 64 here.
  std::uint64_t next_sequence_ = 1;   // of the next header made
  std::uint64_t sent_sequence_ = 0;   // highest written whole
  std::uint64_t acked_sequence_ = 0;  // highest the peer has placed
  std::uint64_t received_ = 0;        // highest placed here

  Outbox outbox_;
  std::uint64_t next_start_ = 0;  // position in the sends: not framed yet
  std::uint64_t next_acked_ = 0;  // position: not acknowledged yet
  std::uint64_t next_read_ = 0;   // position: no READ before it is unanswered
  std::uint32_t reads_in_flight_ = 0;
  std::array<Answer, kCaps.max_reads> answers_;
  std::uint64_t answers_begin_ = 0;
  std::uint64_t answers_end_ = 0;

  std::uint32_t unacked_ = 0;          // frames placed since an ack went out
  bool ack_urgent_ = false;
  std::uint64_t ack_owed_since_ns_ = 0;  // 0 = no clock was read yet

  FrameHeader header_;           // of the frame whose payload is landing
  bool landing_ = false;
  std::uint32_t landing_left_ = 0;
  std::array<iovec, kMaxSlices> landing_parts_;
  std::size_t landing_first_ = 0;
  std::size_t landing_count_ = 0;
  std::array<std::byte, kMaxHelloBytes> hello_buffer_;
  std::array<std::byte, sizeof(FrameHeader)> carry_;  // the beginning of a header
  std::size_t carry_bytes_ = 0;
};

}  // namespace ashlar::fabric::tcp
