// What a snode does for mnodes: keeps the page versions they send, drops what they trim, ends spaces; the calls of
// recovery it hands on (recovery_service.h). It checks every
// field of a request, drives the replica log, and answers when the disk has it, never before. Page bytes go from the
// slot's bulk buffer to the disk as they are.
//
// Threads: only the shard's, except CollectStats and usage.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/fit/server.h"
#include "common/fit/shard.h"
#include "common/telemetry/counter.h"
#include "common/telemetry/stat_list.h"
#include "daemons/snode/recovery_service.h"
#include "daemons/snode/replica_log/replica_log.h"

namespace ashlar::snode {

class AppendService : public fit::Handler {
 public:
  // `on_failed` runs once, on the shard's thread, when the disk is not to be trusted any more: the daemon exits
  // with 74. No call is answered from then on, since their outcome is unknown.
  static absl::StatusOr<std::unique_ptr<AppendService>> Create(fit::Shard& shard, std::unique_ptr<ReplicaLog> log,
                                                               absl::AnyInvocable<void(const absl::Status&)> on_failed,
                                                               const Clock& clock = Clock::Real());
  // Waits for the writes under way, which use the Server's memory. To end: stop the shard's loop, Close, destroy the
  // Server, the service, the shard. After Close every request is answered kUnavailable, and CollectStats adds nothing.
  void Close();
  ~AppendService() override;

  void Handle(const fit::RequestView& request, fit::ReplyWriter reply) override;
  void OnClientDown(const fit::Client&) override {}  // what it sent is kept: a space ends only by DestroySpace

  // One turn of the log; the shard runs it when the disk has something, and at the log's deadlines.
  void Poll();

  struct Usage {
    std::uint64_t used_bytes = 0, limit_bytes = 0;
    CapacityState state = CapacityState::kOk;
    std::uint64_t bad_pages = 0, suspect_spaces = 0;
  };
  Usage usage() const;                       // any thread, until Close
  void CollectStats(StatList& stats) const;  // any thread, until Close

 private:
  AppendService(fit::Shard& shard, std::unique_ptr<ReplicaLog> log,
                absl::AnyInvocable<void(const absl::Status&)> on_failed, const Clock& clock);
  void Append(const fit::RequestView& request, fit::ReplyWriter reply);
  void OpenSpace(const fit::RequestView& request, fit::ReplyWriter reply);
  void Trim(const fit::RequestView& request, fit::ReplyWriter reply);
  void EndSpace(const fit::RequestView& request, fit::ReplyWriter reply);
  void Malformed(fit::ReplyWriter reply);
  void ArmTimer();

  fit::Shard& shard_;
  std::unique_ptr<ReplicaLog> log_;  // nullptr after Close
  absl::AnyInvocable<void(const absl::Status&)> on_failed_;
  const Clock& clock_;
  RecoveryService recovery_;  // on *log_
  bool failed_ = false;
  std::uint64_t timer_ns_ = 0;  // the earliest timer armed; 0 = none
  Counter malformed_total_;
  Counter unknown_opcode_total_;
  std::shared_ptr<AppendService*> self_;  // timers hold it weakly: the shard may run them after our end
};

}  // namespace ashlar::snode
