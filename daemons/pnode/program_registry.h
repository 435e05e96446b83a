// The programs of this pnode: admits them against the node's cache, connects what the injection hands over with paging
// and the guard, and remembers what became of them. It decides and keeps books; it serves no fault and kills nobody itself.
//
// A program's life: admitted → attached → running → gone (its processes) and ended (its memory); the budget it was granted
// comes back when it has left both. Refused or failed launches leave at once.
//
// Threads: thread-safe. mutex_ is a leaf: nothing else is called while it is held. ProgramSink is called on the handoff
// thread, PagingEvents on the fault thread, the lists on gRPC's.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/ids.h"
#include "common/control/node_types.h"
#include "daemons/pnode/injection/guard.h"
#include "daemons/pnode/injection/handoff_server.h"
#include "daemons/pnode/paging/fault_thread.h"
#include "daemons/pnode/paging/paging.h"
#include "daemons/pnode/supervisor/supervisor.h"

namespace ashlar::pnode {

struct RegistryOptions {
  std::uint64_t cache_bytes = 0;  // of this node; the sum of all limits stays below
  std::uint32_t victim_percent = 12;
  absl::Duration give_up = absl::Seconds(60);
  SpaceConfig::OnTrouble on_trouble = SpaceConfig::OnTrouble::kHold;
  AckLevel ack_level = AckLevel::kDisk;
};

class ProgramRegistry final : public ProgramSink, public PagingEvents {
 public:
  static constexpr std::uint64_t kMinLimitBytes = 16 << 20;
  static constexpr std::size_t kEndedRemembered = 64;

  // `take_space` makes a SpaceId that was never used (it may wait for the disk); handoff thread only.
  ProgramRegistry(const RegistryOptions& options, absl::AnyInvocable<absl::StatusOr<SpaceId>()> take_space);

  // Before the first program; all must outlive the programs.
  void Connect(FaultThread& paging, Guard& guard, HandoffServer& handoff, Supervisor& supervisor);

  // Guard's hook: pins what the kernel will write at the thread's end, then lets it go.
  void OnThreadExit(ExitTicket ticket);

  absl::StatusOr<ProgramGrant> Admit(const ProgramRequest& request) override;
  absl::Status Attach(AttachedProgram program) override;
  void OnGone(SpaceId space, GoneReason reason, int wait_status) override;

  void KillProgram(SpaceId space, std::string_view reason) override;
  void OnChildSeen(SpaceId space, int uffd) override;
  void OnHolding(SpaceId space, bool holding, std::string_view reason) override;
  void OnMissServed(std::uint32_t thread, std::uint64_t waited_ns) override { supervisor_->OnMissServed(thread, waited_ns); }
  void OnEnded(SpaceId space) override;

  // Counts the system calls of a program that runs. Returns whether it was traced already.
  absl::StatusOr<bool> StartTrace(SpaceId space, absl::Duration lease);

  std::vector<control::ProgramInfo> List(bool include_ended) const;  // oldest first
  std::vector<control::ProgramStats> Stats(bool include_ended) const;
  std::vector<control::Problem> Problems() const;                    // programs that wait for their memory
  std::uint64_t granted_bytes() const;

 private:
  struct Record {
    control::ProgramInfo info;
    bool strace = false;     // asked for at the launch
    std::vector<int> helper_tids;  // the threads injection put into it
    std::string holding;     // why it waits; empty = it does not
    bool attached = false;   // paging has it, and will say OnEnded
    bool gone = false;       // its processes
    bool ended = false;      // its memory
  };

  Record* FindLocked(SpaceId space) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RetireIfDoneLocked(SpaceId space) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FillGauges(control::ProgramInfo& info) const;
  std::vector<control::ChildProcess> ChildrenOf(SpaceId space) const;

  const RegistryOptions options_;
  absl::AnyInvocable<absl::StatusOr<SpaceId>()> take_space_;
  FaultThread* paging_ = nullptr;
  Guard* guard_ = nullptr;
  HandoffServer* handoff_ = nullptr;
  Supervisor* supervisor_ = nullptr;

  mutable absl::Mutex mutex_;
  absl::btree_map<SpaceId, Record> programs_ ABSL_GUARDED_BY(mutex_);
  std::deque<control::ProgramInfo> ended_ ABSL_GUARDED_BY(mutex_);  // at most kEndedRemembered
  std::uint64_t granted_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace ashlar::pnode
