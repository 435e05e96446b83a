// The books of the supervisor: which programs are traced, what their threads that ended had called, what a report says. It
// knows of no BPF: a collector (ChainSource) fills the tables, so every rule here is tested in plain memory.
//
// Memory stays bounded however many threads come and go: a dead thread's numbers are folded into its program's totals and its
// slot is given back; the longest-lived kThreadsKept of a program also keep a row of their own.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/control/syscall_types.h"
#include "daemons/pnode/supervisor/call_totals.h"
#include "daemons/pnode/supervisor/slot_table.h"

namespace ashlar::pnode {

// What the book needs of a collector.
class ChainSource {
 public:
  virtual ~ChainSource() = default;
  virtual SlotTable table() = 0;
  virtual std::uint32_t processes_used() = 0;  // indexes below were handed out at least once
  virtual std::uint64_t lost() = 0;
  // Cleared by the book; nothing points at them any more.
  virtual void GiveBackSlot(std::uint32_t slot) = 0;
  virtual void GiveBackProcess(std::uint32_t process) = 0;
  // Adds what the overflow table has of a process; with `take` it is removed there.
  virtual void AddOverflow(std::uint32_t process, bool take, CallTotals& into) = 0;
  // Whether any process has this pid. (One that has it anew counts: the old one's end shows when that ends, too.)
  virtual bool PidInUse(std::uint32_t pid) = 0;
};

struct TraceStart {
  SpaceId program;
  std::string name;
  int pid = 0;
  bool attached_late = false;
  std::uint64_t now_ns = 0;
};

// What the book keeps of one program.
struct ProgramTrace {
  TraceStart start;
  std::uint64_t end_ns = 0;  // 0 = not ended
  bool incomplete = false;
  CallTotals totals;         // of folded threads
  std::vector<control::ThreadStats> kept;  // the longest-lived ended ones
  std::uint64_t ended_threads = 0;
  std::uint64_t ended_processes = 0;
  std::uint64_t overflow_threads = 0;  // of ended processes
  std::uint64_t user_miss_ns = 0;
  std::uint64_t user_miss_count = 0;
  bool seen = false;  // a process of it, ever
};

class TraceBook {
 public:
  static constexpr std::size_t kThreadsKept = 256;       // ended, of one program
  static constexpr std::size_t kEndedKept = 64;          // programs
  static constexpr std::uint64_t kMissingNs = 1'000'000'000;  // a process whose pid is free for so long has ended unseen

  explicit TraceBook(ChainSource& source) : source_(source) {}

  // The processes with this `trace` belong to it from now on. A program that ended and is traced again begins anew.
  void Begin(const TraceStart& start);
  // No task writes to its records any more: what they hold is folded as if all its threads had ended.
  void End(SpaceId program, std::uint64_t now_ns);

  bool Traces(SpaceId program) const;  // and it has not ended
  std::size_t live_traces() const;

  // Folds dead threads, ends processes. Returns how many slots it gave back.
  std::uint32_t Tick(std::uint64_t now_ns);

  // NotFound: never traced, or forgotten.
  absl::StatusOr<control::SyscallReport> Report(SpaceId program, std::uint64_t now_ns);
  absl::StatusOr<control::ThreadReport> Threads(SpaceId program, std::uint64_t now_ns);

  std::uint64_t folded_threads() const { return folded_threads_; }

 private:
  using Trace = ProgramTrace;

  void Fold(Trace& trace, std::uint32_t slot, std::uint64_t now_ns);
  void EndProcess(Trace& trace, std::uint32_t process, std::uint64_t now_ns);
  bool Missing(std::uint32_t process, std::uint64_t now_ns);
  void Retire(SpaceId program, std::uint64_t now_ns);
  Trace* Find(SpaceId program);
  control::ThreadStats RowOf(const Trace& trace, const strace_info& slot, std::uint64_t now_ns) const;
  template <typename Visit>
  void ForEachLive(SpaceId program, Visit visit);

  ChainSource& source_;
  absl::btree_map<SpaceId, Trace> traces_;
  std::deque<std::pair<SpaceId, Trace>> ended_;  // oldest first, at most kEndedKept
  Trace others_;                                 // process 0: whom there was no process record for
  absl::btree_map<std::uint32_t, std::uint64_t> missing_since_;  // process index → when its pid was first seen free
  std::uint64_t folded_threads_ = 0;
};

}  // namespace ashlar::pnode
