// The owner thread: serves the faults of the programs attached to it, from poll() over their userfaultfds, their helpers'
// eventfds, the page store and the command queue.
//
// Threads: the public functions may be called from any thread but the owner; what they ask for is done on the owner, and
// `done` and PagingEvents are called there. The command queue's mutex is held for a push or a swap only, never across a call.
// Its tables and buffers are prefaulted and, as far as RLIMIT_MEMLOCK allows, locked; nothing of this process is managed.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "common/base/unique_fd.h"
#include "common/telemetry/stat_list.h"
#include "daemons/pnode/paging/pager.h"

namespace ashlar::pnode {

// What the injection made in a program and pulled out of it. Addresses are the program's.
struct AttachedMemory {
  UniqueFd uffd;        // UFFDIO_API done: MOVE, EVENT_{FORK,REMAP,REMOVE,UNMAP}, THREAD_ID
  UniqueFd pidfd;
  UniqueFd control;     // memfd of sizeof(HelperControl)
  UniqueFd victim;      // memfd of victim_slots pages
  UniqueFd move_event;  // eventfd, non-blocking, that the command helper adds to
  pid_t pid = 0;
  std::uint32_t victim_slots = 0;
  std::uint64_t staging_address = 0;  // registered already
  std::uint32_t staging_pages = 0;
};

class FaultThread {
 public:
  struct Options {
    std::string name = "fault";        // as shown by top -H
    std::uint32_t fetch_groups = 128;  // of 16 pages: bounds the fetches under way
    std::function<void()> on_turn;     // runs on the owner at each turn and at least ten times a second: feeds a watchdog
  };
  // The store, the clock and the events outlive the thread; from here on only the owner thread touches the store.
  static absl::StatusOr<std::unique_ptr<FaultThread>> Start(const Options& options, PageStore& store, PagingEvents& events,
                                                            const Clock& clock = Clock::Real());
  // Programs that still live must have been killed before: with us goes a holder of their userfaultfds.
  ~FaultThread();

  // Maps the program's shared memories on the caller's thread, then hands them to the owner. `done`: it is served from now on,
  // or why not; the program may run on only then.
  void Attach(const SpaceConfig& config, AttachedMemory memory, Program::Done done);
  void PinRanges(SpaceId space, std::uint32_t thread, std::vector<AddressRange> ranges, Program::Done done);

  // The sums over all programs, the ended ones included. Any thread.
  void CollectStats(StatList& into) const;
  // nullptr: never attached, or ended so long ago that kEndedRemembered others ended since.
  std::shared_ptr<const ProgramCounters> FindCounters(SpaceId space) const;

 private:
  struct Mapped;  // of one program: the memories shared with it

  FaultThread(PageStore& store, const Options& options);
  void Run();
  void Push(absl::AnyInvocable<void()> command);
  bool RunCommands();
  void Sleep();

  PageStore& store_;
  const Options options_;
  std::unique_ptr<Pager> pager_;
  UniqueFd doorbell_;  // eventfd

  void Forget(SpaceId space);  // the program has ended

  static constexpr std::size_t kEndedRemembered = 64;

  std::atomic<bool> has_commands_{false};  // so that a turn without any takes no lock
  mutable absl::Mutex mutex_;
  std::vector<absl::AnyInvocable<void()>> commands_ ABSL_GUARDED_BY(mutex_);  // bound: one per waiting caller
  absl::flat_hash_map<SpaceId, std::shared_ptr<ProgramCounters>> counters_ ABSL_GUARDED_BY(mutex_);  // of those that live
  std::deque<std::pair<SpaceId, std::shared_ptr<ProgramCounters>>> ended_ ABSL_GUARDED_BY(mutex_);  // the last ones
  StatList retired_ ABSL_GUARDED_BY(mutex_);  // the totals of those before them

  absl::flat_hash_map<SpaceId, std::unique_ptr<Mapped>> mapped_;  // owner
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

}  // namespace ashlar::pnode
