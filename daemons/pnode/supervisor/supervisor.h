// The supervisor of one pnode: traces programs on demand, keeps what their threads called, and says it live. Programs neither
// wait for it nor fail with it.
//
// The BPF programs are loaded at the first trace and attached only while something is traced (and kLinger longer): attached,
// they cost every process of the host. Threads: thread-safe; one of its own, "supervisor", folds every kTick while attached.
// mutex_ is a leaf: gRPC's threads hold it while they copy a report.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/ids.h"
#include "common/base/unique_fd.h"
#include "common/control/syscall_types.h"
#include "common/telemetry/stat_list.h"
#include "daemons/pnode/supervisor/bpf_tracer.h"
#include "daemons/pnode/supervisor/trace_book.h"

namespace ashlar::pnode {

struct TraceTarget {
  SpaceId program;
  std::string name;
  int pid = 0;
  std::vector<int> child_pids;   // processes it has made already
  std::vector<int> helper_tids;  // threads of it that are Ashlar's
  bool late = false;             // it has run already
  absl::Duration lease = absl::InfiniteDuration();  // ends unless somebody asks again in time
};

class Supervisor {
 public:
  static constexpr absl::Duration kTick = absl::Milliseconds(10);
  static constexpr absl::Duration kFastTick = absl::Milliseconds(1);  // while more than half of the slots are taken
  static constexpr absl::Duration kLinger = absl::Seconds(1);

  explicit Supervisor(const BpfTracer::Options& options = {});
  ~Supervisor();

  // OK if Trace can work: loads the programs the first time. Errors name the missing capability.
  absl::Status Prepare();

  // Counts from here on, in all threads of the process and in everything they fork. Traced already: OK, and the longer lease
  // counts.
  // Returns whether it was.
  absl::StatusOr<bool> Trace(const TraceTarget& target);
  // What was counted stays to be asked for. NotFound: not traced.
  absl::Status Stop(SpaceId program);

  // NotFound: never traced, or forgotten (the last 64 programs that ended are kept). Asking renews a lease.
  absl::StatusOr<control::SyscallReport> Report(SpaceId program);
  absl::StatusOr<control::ThreadReport> Threads(SpaceId program);

  // Of paging, for each miss; the fault thread only, which neither waits nor locks here. See MissSink.
  void OnMissServed(std::uint32_t tid, std::uint64_t waited_ns) {
    if (const MissSink* sink = miss_sink_.load(std::memory_order_acquire)) sink->Add(tid, waited_ns);
  }

  void AddStats(StatList* stats) const;

 private:
  struct Lease {
    absl::Duration length;
    std::uint64_t ends_ns = 0;
  };

  absl::Status PrepareLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status StopLocked(SpaceId program, std::uint64_t now_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TickLocked(std::uint64_t now_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RenewLocked(SpaceId program, std::uint64_t now_ns) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration NextTickLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run();
  void Wake();

  const BpfTracer::Options options_;
  UniqueFd wake_fd_;
  std::atomic<const MissSink*> miss_sink_{nullptr};  // what sink_ holds, once the tables are there

  mutable absl::Mutex mutex_;
  std::unique_ptr<BpfTracer> tracer_ ABSL_GUARDED_BY(mutex_);  // null until the first trace
  std::unique_ptr<TraceBook> book_ ABSL_GUARDED_BY(mutex_);
  std::optional<MissSink> sink_ ABSL_GUARDED_BY(mutex_);
  absl::btree_map<SpaceId, Lease> leases_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t idle_since_ns_ ABSL_GUARDED_BY(mutex_) = 0;  // 0 = something is traced
  std::uint64_t ticks_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace ashlar::pnode
