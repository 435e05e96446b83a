// The serving side: accepting (server.cc), one endpoint (server_link.cc), requests and answers (server_requests.cc).
// Only on the shard's thread, except IssueLink and CollectStats.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <list>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "common/fit/caller_record.h"
#include "common/fit/link.h"
#include "common/fit/token_table.h"
#include "common/telemetry/log.h"

namespace ashlar::fit {

// The face of one endpoint to handlers.
class SessionImpl final : public Session {
 public:
  SessionImpl(std::shared_ptr<SubmitQueue> queue, const Client& client, std::uint64_t connection_epoch)
      : queue_(std::move(queue)), client_(client), connection_epoch_(connection_epoch) {}

  const Client& client() const override { return client_; }
  std::uint64_t connection_epoch() const override { return connection_epoch_; }
  absl::StatusOr<fabric::RemoteWindow> Grant(fabric::Slice slice, fabric::Access access) override;
  void Revoke(fabric::RemoteWindow window, absl::AnyInvocable<void()> done) override;

  void Bind(Link* link) { link_ = link; }
  void OnRevoked(std::uint64_t number);
  void OnGone();  // the endpoint is destroyed: every window is dead

 private:
  struct Revocation {
    fabric::RemoteWindow window;
    absl::AnyInvocable<void()> done;
  };
  void PostRevocations();

  const std::shared_ptr<SubmitQueue> queue_;
  const Client client_;
  const std::uint64_t connection_epoch_;
  Link* link_ = nullptr;  // null: gone
  std::deque<Revocation> waiting_;
  absl::flat_hash_map<std::uint64_t, absl::AnyInvocable<void()>> in_flight_;  // by number
  std::uint64_t next_number_ = 0;
};

class ServerLink final : public LinkOwner {
 public:
  ServerLink(ServerImpl& server, std::shared_ptr<CallerRecord> record, const Link::Options& options,
             std::unique_ptr<fabric::Endpoint> endpoint, std::shared_ptr<Arena> in);

  Link& link() { return link_; }
  const std::shared_ptr<CallerRecord>& record() const { return record_; }
  const std::shared_ptr<SessionImpl>& session() const { return session_; }
  std::list<std::unique_ptr<ServerLink>>::iterator self;

 private:
  absl::Status OnConnected(std::span<const std::byte>) override { return absl::OkStatus(); }  // proved before Accept
  void OnUp() override;
  void OnFrame(std::uint32_t imm, std::uint32_t byte_len) override;
  void OnControl(std::uint32_t imm) override;
  void OnRetired(const WorkTag& tag, bool succeeded) override;
  void OnFailed(const absl::Status& reason) override;
  void OnGone() override;

  ServerImpl& server_;
  const std::shared_ptr<CallerRecord> record_;
  const std::shared_ptr<SessionImpl> session_;
  Link link_;
};

class ServerImpl final : public Server {
 public:
  ServerImpl(ShardImpl& shard, const ServerOptions& options, Handler& handler, std::unique_ptr<fabric::Listener> listener);
  ~ServerImpl() override;
  absl::Status Begin();

  std::string address() const override { return address_; }
  absl::StatusOr<LinkGrant> IssueLink(const Client& client) override;
  void CollectStats(StatList& stats) const override;

  // For ServerLink and the reply writers.
  void OnRequest(ServerLink& link, std::uint32_t imm, std::uint32_t byte_len);
  void OnCancel(ServerLink& link, std::uint32_t imm);
  void OnFrameRetired(CallerRecord& record, std::uint16_t slot);
  void OnLinkGone(ServerLink& link);
  void Answer(const std::shared_ptr<CallerRecord>& record, std::uint16_t slot, Code code, std::uint32_t payload_bytes,
              std::uint32_t bulk_bytes, Hints hints);
  ShardImpl& shard() { return shard_; }
  LinkCounters& link_counters() { return link_counters_; }
  log::RateLimit& log_limit() { return log_limit_; }

 private:
  struct Arrived {
    const wire::Header& header;
    std::span<const std::byte> payload;
    const std::shared_ptr<Arena>& in;
    bool known_opcode;
    std::uint64_t arrived_ns;
  };

  void OnAcceptable();
  void Accept(fabric::PendingPeer& peer);
  absl::Status Admit(fabric::PendingPeer& peer, const wire::Hello& hello, const TokenTable::Entry& entry);
  absl::Status Connect(fabric::PendingPeer& peer, const wire::Hello& hello, const TokenTable::Entry& entry,
                       const std::shared_ptr<CallerRecord>& record);
  absl::StatusOr<std::shared_ptr<CallerRecord>> RecordOf(const Client& client);
  void ForgetOldRecords(const Client& client);

  void OnRepeat(ServerLink& link, std::uint16_t slot, const Arrived& request);
  void Run(ServerLink& link, std::uint16_t slot, const Arrived& request);
  void Begin(const std::shared_ptr<CallerRecord>& record, std::uint16_t slot, const Arrived& request);
  void PostReply(CallerRecord& record, std::uint16_t slot);
  void Settle(const std::shared_ptr<CallerRecord>& record, std::uint16_t slot);
  static void Apply(CallerRecord& record, std::uint16_t slot, ServerSlotEvent event);

  static constexpr std::uint64_t kSilenceNs = 2'000'000'000;     // the client finds out first, and has reason to hurry
  static constexpr std::uint64_t kHousekeepingNs = 100'000'000;
  static constexpr std::uint64_t kAcceptPeriodNs = 1'000'000'000;  // to drop strangers that say nothing
  static constexpr std::uint64_t kRecordTtlNs = 600'000'000'000;
  static constexpr std::size_t kMaxRecords = 4096;

  ShardImpl& shard_;
  const ServerOptions options_;
  Handler& handler_;
  std::unique_ptr<fabric::Listener> listener_;
  const std::string address_;
  Timer accept_timer_;
  bool replacing_ = false;  // an endpoint goes because a newer one of its client comes

  TokenTable tokens_;
  FailureBrake brake_;
  std::atomic<std::uint64_t> next_epoch_;
  absl::flat_hash_map<Client, std::shared_ptr<CallerRecord>> records_;
  std::list<std::unique_ptr<ServerLink>> links_;
  std::array<std::byte, wire::kMaxPayloadBytes> scratch_;

  struct OpcodeCounters {
    std::array<Counter, 11> by_code;  // by fit::Code
    Histogram serve_ns;
  };
  LinkCounters link_counters_;
  std::array<OpcodeCounters, kOpcodeEnd> opcode_counters_;
  Counter accepted_, refused_hellos_, links_up_, stale_, replayed_, resends_, unknown_opcodes_, forgotten_, not_begun_,
      cancelled_;
  log::RateLimit log_limit_{5'000'000'000};
};

}  // namespace ashlar::fit
