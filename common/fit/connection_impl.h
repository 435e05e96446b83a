// The client's standing link: calls (client_calls.cc), one-sided reads (client_reads.cc), and the link's life
// (connection.cc). Only on the shard's thread, except CollectStats.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "common/fit/call_queue.h"
#include "common/fit/client_slots.h"
#include "common/fit/connection.h"
#include "common/fit/handshake.h"
#include "common/fit/link.h"
#include "common/telemetry/log.h"

namespace ashlar::fit {

class ConnectionImpl final : public Connection, public LinkOwner {
 public:
  ConnectionImpl(ShardImpl& shard, const ConnectionOptions& options, LinkOpener& opener, ConnectionEvents* events,
                 std::shared_ptr<Arena> in, std::shared_ptr<Arena> out);
  ~ConnectionImpl() override;
  void Open();

  absl::Status Start(wire::Opcode opcode, std::span<const std::byte> payload, std::span<const fabric::Slice> bulk,
                     Deadline deadline, PendingCall& call) override;
  absl::Status Read(std::span<const RemoteCopy> pieces, Deadline deadline, PendingCall& call) override;
  void Cancel(PendingCall& call) override;
  LinkState state() const override { return state_; }
  std::uint64_t connection_epoch() const override { return state_ == LinkState::kUp ? grant_.connection_epoch : 0; }
  Incarnation server_incarnation() const override { return incarnation_; }
  void CollectStats(StatList& stats) const override;
  LinkReport report() const override { return journal_.Read(); }

 private:
  // LinkOwner
  absl::Status OnConnected(std::span<const std::byte> peer_hello) override;
  void OnUp() override;
  void OnFrame(std::uint32_t imm, std::uint32_t byte_len) override;
  void OnControl(std::uint32_t imm) override;
  void OnRetired(const WorkTag& tag, bool succeeded) override;
  void OnFailed(const absl::Status& reason) override;
  void OnGone() override;

  // The link's life.
  void Enter(LinkState state);
  void OnGrant(std::uint64_t attempt, absl::StatusOr<LinkGrant> grant);
  absl::Status Connect();
  void BackOff(const absl::Status& reason);
  Link::Options LinkOptions() const;

  // Calls.
  absl::Status CheckCall(wire::Opcode opcode, std::span<const std::byte> payload, std::span<const fabric::Slice> bulk) const;
  bool LinkIsUp() const { return link_ != nullptr && link_->up(); }
  CallQueue& QueueOf(const Call& call) { return queues_[static_cast<std::size_t>(call.lane)]; }
  void Enqueue(Call& call, bool in_front);
  void Dispatch(std::uint64_t now_ns);
  void Send(std::uint16_t slot, std::uint64_t now_ns);
  void SendBulk(Call& call, std::uint64_t remote_offset);
  void ResendOrRequeue();
  void Expire(Call& call, const absl::Status& status);
  void Finish(Call& call, const CallResult& result);
  void ReleaseIfDone(Call& call);
  void FreeIfRetired(std::uint16_t slot);
  void ShowSlots();

  // Reads.
  absl::Status CheckPieces(std::span<const RemoteCopy> pieces) const;
  void PostReads();
  void ExpireRead(ReadCall& read, const absl::Status& status);
  void FinishRead(ReadCall& read, const absl::Status& status);
  void ReleaseReadIfDone(ReadCall& read);

  static constexpr std::uint32_t kReadDepth = 128;  // READs posted at one time
  static constexpr std::uint64_t kConnectTimeoutNs = 1'000'000'000;
  static constexpr std::uint64_t kGrantTimeoutNs = 10'000'000'000;

  ShardImpl& shard_;
  const ConnectionOptions options_;
  LinkOpener& opener_;
  ConnectionEvents* const events_;

  LinkState state_ = LinkState::kBackOff;
  LinkJournal journal_;
  std::shared_ptr<Arena> in_, out_;
  std::unique_ptr<Link> link_;
  LinkGrant grant_;
  wire::Hello hello_{};
  Incarnation incarnation_;      // of the server, last known
  Incarnation last_up_;          // of the server that has seen our calls
  std::uint64_t attempt_ = 0;
  std::uint32_t failures_ = 0;   // in a row
  std::uint64_t up_since_ns_ = 0;
  bool closing_ = false;
  bool was_up_ = false;          // this link; OnDown is owed
  Timer retry_;                  // the back-off, or no answer from the opener
  std::shared_ptr<ConnectionImpl*> self_;  // for callbacks that may come after us; null in it then

  ClientSlots slots_;
  std::array<CallQueue, kLanes> queues_;
  std::uint32_t queued_ = 0;
  Pool<Call> calls_;
  Pool<ReadCall> reads_;
  std::vector<ReadCall*> read_queue_;  // with pieces not posted
  std::uint32_t reads_posted_ = 0;
  std::array<std::byte, wire::kMaxPayloadBytes> scratch_;

  struct OpcodeCounters {
    std::array<Counter, 12> by_code;  // by fit::Code; the last: wire and deadline errors
    Histogram call_ns;
  };
  LinkCounters counters_;
  std::array<OpcodeCounters, kOpcodeEnd> opcode_counters_;
  Histogram one_sided_ns_;
  Counter slots_in_use_, slots_quarantined_, calls_queued_, cancels_, stale_, resends_idempotent_, resends_once_, outcome_unknown_,
      reconnects_, deadline_exceeded_, up_;
  log::RateLimit log_limit_{5'000'000'000};
};

}  // namespace ashlar::fit
