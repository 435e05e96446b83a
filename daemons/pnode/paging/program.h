// One program's memory: the process that was started, the children it forked, one budget, one remote space. This class is
// the owner of all their page states; it serves faults, applies events, evicts, writes back and adopts. Split by kind:
//   program.cc      life, one turn, trouble            faults.cc   faults, fetches, prefetch
//   events.cc       changes of the address space       evictor.cc  choosing, MOVE batches, budget
//   write_back.cc   dirty slots, trims                 fork.cc     children
//   adoption.cc     finding memory, pins
//
// Threads: only the owner thread. Never blocks; touches no managed memory.
// Invariants (10-paging §8, "why no write is lost"): no event of the root's userfaultfd is read while a MOVE batch is open;
// only this class fills pages, and only with the newest version; a copy is given up only for the acknowledgement of its
// version or because the program dropped the page; a child's remote page is always the version the home has.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "common/base/clock.h"
#include "common/telemetry/log.h"
#include "daemons/pnode/paging/area_map.h"
#include "daemons/pnode/paging/change_order.h"
#include "daemons/pnode/paging/eviction_policy.h"
#include "daemons/pnode/paging/fault_source.h"
#include "daemons/pnode/paging/fetch_pool.h"
#include "daemons/pnode/paging/page_mover.h"
#include "daemons/pnode/paging/page_store.h"
#include "daemons/pnode/paging/page_table.h"
#include "daemons/pnode/paging/paging.h"
#include "daemons/pnode/paging/paging_counters.h"
#include "daemons/pnode/paging/resident_set.h"
#include "daemons/pnode/paging/victim_area.h"

namespace ashlar::pnode {

// A fault that could not be served yet.
struct ParkedFault {
  std::uint64_t address = 0;
  std::uint64_t read_ns = 0;
  bool write = false;
  std::uint32_t thread = 0;  // 0 = unknown
};

// The memory of one process (one mm).
struct Memory {
  std::unique_ptr<FaultSource> source;
  AreaMap areas;
  PageTable pages;
  std::vector<ParkedFault> parked;
  // Changes that were read and wait for those still outstanding (change_order.h). While there are any, nothing of this memory
  // is filled, moved or adopted.
  std::vector<MemoryEvent> changes;
  std::vector<ForkSeen> forks;  // those among `changes`
  // Children only: bytes of pages that are kStaged there. They are ours alone.
  absl::flat_hash_map<std::uint64_t, std::unique_ptr<std::byte[]>> held;
  std::uint64_t next_page = 0;  // the next page number to give out
  std::uint64_t resident = 0;   // children only; the root's are in the resident set
  std::uint64_t filled = 0;     // of these, at most so many are not shared with the parent
  bool root = false;
  bool gone = false;
  bool changed = false;  // since the last adoption scan the map changed
  bool in_dispute = false;  // just forked: which changes happened to it is still to be found out

  // Where its pages are is known.
  bool settled() const { return changes.empty() && !in_dispute; }
};

// What all programs of one owner thread share.
struct OwnerContext {
  PageStore& store;
  FetchPool& fetches;
  const Clock& clock;
  PagingEvents& events;
};

class Program {
 public:
  struct Parts {
    std::unique_ptr<FaultSource> source;
    std::unique_ptr<PageMover> mover;
    std::span<std::byte> victim_bytes;  // given to the store with AddBuffer already; outlives the program
  };
  using Done = absl::AnyInvocable<void(absl::Status)>;

  Program(const SpaceConfig& config, Parts parts, OwnerContext context, std::uint32_t number,
          std::shared_ptr<ProgramCounters> counters);
  ~Program();

  // One pass over everything that can be done now. Returns whether anything was.
  bool Turn(std::uint64_t now_ns);
  // When Turn has work again without an event; 0 = none.
  std::uint64_t NextTimerNs(std::uint64_t now_ns) const;
  // Before a sleep. True: there is work already.
  bool Arm();
  void Disarm();
  // The descriptors that make Turn worth while.
  void AppendWaitFds(std::vector<int>& memory_fds, std::vector<int>& process_fds) const;
  // A process is said to be gone: look in the next turn.
  void ProbeNow() { next_probe_ns_ = 0; }

  void OnFetched(std::uint32_t fetch, const absl::Status& status);
  void OnWrittenBack(std::uint32_t slot, const absl::Status& status, AckLevel level);
  void OnSpaceLost(const absl::Status& reason);

  // Makes the pages of the ranges resident and keeps them so until the thread is gone: the kernel serves no userfault for
  // an exiting thread. `done` is called when they are.
  void PinRanges(std::uint32_t thread, std::vector<AddressRange> ranges, Done done);

  // All processes are gone and every buffer has come back.
  bool ended() const { return ended_; }
  SpaceId space() const { return config_.space; }
  const SpaceConfig& config() const { return config_; }
  const ProgramCounters& counters() const { return *counters_; }

 private:
  friend class ProgramPeer;  // tests

  struct Pin {
    std::uint32_t thread = 0;
    std::vector<std::uint64_t> addresses;  // still to be made resident
    std::vector<PageNumber> pages;         // pinned
    Done done;
  };
  struct Evicting {
    std::uint32_t resident = 0;
    std::uint32_t slot = 0;
    PageNumber page;
  };
  struct Rest {  // a page that MOVE refused for good reasons: not chosen until then
    PageNumber page;
    std::uint64_t until_ns = 0;
  };
  enum class Served : std::uint8_t { kDone, kPark };
  enum class FetchKind : std::uint8_t { kSingle, kStream, kStreamAhead };  // Ahead: FetchPool::Group::ahead

  // program.cc
  void Kill(std::string reason);
  bool Step(Memory& memory, PageEntry& entry, PageEvent event, PageNumber page);  // false: the program was killed
  void NoteTrouble(const absl::Status& status, std::string_view doing);
  void NoteSuccess();
  void CheckTrouble(std::uint64_t now_ns);
  void CheckGone(std::uint64_t now_ns);
  void DropMemory(Memory& memory);
  void FinishIfGone();
  void UpdateGauges();

  // faults.cc
  // drain: until nothing is left, else until there was less than fits into one read.
  bool ReadEvents(Memory& memory, std::uint64_t now_ns, bool drain = false);
  bool ServeParked(Memory& memory, std::uint64_t now_ns);
  Served Serve(Memory& memory, const ParkedFault& fault, std::uint64_t now_ns);
  Served FillZero(Memory& memory, Area& area, PageEntry& entry, PageNumber page, const ParkedFault& fault);
  Served FillFromSlot(Memory& memory, PageEntry& entry, PageNumber page, std::uint64_t address, std::uint32_t slot);
  Served FillFromHeld(Memory& memory, PageEntry& entry, PageNumber page, std::uint64_t address);
  // errno of a failed fill: what becomes of the fault.
  Served AfterFailedFill(Memory& memory, PageEntry& entry, PageNumber page, std::uint64_t address, int error);
  Served StartFetch(Memory& memory, Area& area, PageNumber page, const ParkedFault& fault, std::uint64_t now_ns);
  std::uint32_t PostFetch(Memory* memory, PageNumber first, std::uint32_t count, FetchKind kind, std::uint64_t now_ns);
  std::uint32_t RemoteRun(Memory& memory, const Area& area, PageNumber first, std::uint32_t most);
  void FetchAhead(Memory& memory, Area& area, PageNumber page, std::uint32_t groups, std::uint64_t now_ns);
  std::uint32_t ArrivedAhead(Memory& memory, const Area& area, PageNumber page);
  void AddWaiter(FetchPool::Page& page, const ParkedFault& fault);
  void TellWaits(FetchPool::Page& page, std::uint64_t now_ns);
  Served JoinFetch(Memory& memory, PageEntry& entry, std::uint64_t address, const ParkedFault& fault, std::uint64_t now_ns);
  bool InstallArrived(std::uint64_t now_ns);
  bool InstallGroup(std::uint32_t group, std::uint64_t now_ns);
  // Installs [from, from + count) of the group by one COPY. False: EAGAIN, later.
  bool InstallRun(std::uint32_t group, std::uint32_t from, std::uint32_t count, std::uint64_t now_ns);
  void DropFetch(std::uint32_t fetch);      // nobody wants it any more
  void ReleaseIfDone(std::uint32_t group);
  bool DropIdleAhead(std::uint64_t now_ns, bool all);
  void RetryFetches(std::uint64_t now_ns);
  void MakeResident(Memory& memory, PageEntry& entry, PageNumber page, const PageHash* hash, Arrival arrival);
  std::uint32_t ZeroRun(Memory& memory, const Area& area, PageNumber first, std::uint32_t most);
  void LeaveResident(Memory& memory, PageEntry& entry);
  bool HasRoom() const;

  // events.cc
  void ApplyChanges(Memory& memory, std::uint64_t now_ns);
  void ApplyToChild(Memory& child, std::span<const OrderedChange> changes, const ForkSeen& fork);
  void AfterChange(Memory& memory, const MemoryEvent& change, std::uint64_t now_ns);
  void DropPages(Memory& memory, PageRange range, bool unmapped);

  // evictor.cc
  std::uint64_t CountedPages() const;  // on the limit
  bool WantsEviction(std::uint64_t now_ns);
  bool StartBatch(std::uint64_t now_ns);
  bool FinishBatch(std::uint64_t now_ns);
  void OnMoved(const Evicting& item, std::uint64_t now_ns);
  void OnMoveRefused(const Evicting& item, int error, std::uint64_t now_ns);
  std::uint32_t LeaveStamp() const;
  bool LeftSoonAgo(const PageEntry& entry) const;
  void EndRests(std::uint64_t now_ns);

  // write_back.cc
  bool FlushDirty(std::uint64_t now_ns);
  bool MaySend(const VictimArea::Slot& slot);
  void RecheckBlocked();
  void AddTrim(TrimRange range);
  void FlushTrims();

  // fork.cc
  void Receive(Memory& memory, std::vector<MemoryEvent>& events, std::uint64_t now_ns);
  ForkSeen BeginLook(const Memory& parent, std::size_t index) const;
  bool LookAtChild(ForkSeen& fork, FaultSource& child);
  Memory& OnFork(Memory& parent, std::unique_ptr<FaultSource> source, bool in_dispute);
  bool GiveToChild(Memory& child, PageNumber page, std::span<const std::byte> bytes);
  bool ChildNeeds(PageNumber page, bool* can_push);
  bool PushUnderWay(PageNumber page) const;
  bool PushesUnderWay() const;
  bool PostPush(PageNumber page);
  void OnPushed(std::uint32_t group);
  bool live_children() const { return memories_.size() > 1; }

  void SetResidentLimit();

  // adoption.cc
  void NoteFresh(std::uint64_t pages);
  bool Adopt(std::uint64_t now_ns);
  bool AdoptRange(AddressRange range);
  void AddArea(Memory& memory, AddressRange range);
  bool ClaimUnknown(Memory& memory, std::uint64_t address, std::uint64_t now_ns);
  void AdoptSuspects(std::uint64_t now_ns);
  bool WorkOnPins(std::uint64_t now_ns);
  bool IsPinned(PageNumber page) const;

  Memory& root() { return *memories_[0]; }

  const SpaceConfig config_;
  OwnerContext context_;
  const std::uint32_t number_;  // in cookies
  const std::shared_ptr<ProgramCounters> counters_;
  ProgramCounters& count_;
  std::uint64_t hash_seed_;

  std::vector<std::unique_ptr<Memory>> memories_;  // [0] the root, also when it is gone; then the living children
  std::unique_ptr<PageMover> mover_;
  VictimArea victims_;
  ResidentSet resident_;  // the root's
  std::unique_ptr<EvictionPolicy> policy_;
  std::vector<MemoryEvent> event_buffer_;

  // Budget, in pages.
  std::uint64_t limit_pages_, resident_limit_;
  std::uint64_t fresh_most_, fresh_reserve_;  // kept free for memory touched before it is adopted
  std::uint64_t fetching_ = 0;     // fetches that will become resident
  bool evicting_down_ = false;     // between the high and the low mark
  std::uint64_t stuck_since_ns_ = 0;  // a fault waits at the hard cap and nothing moves; 0 = no
  bool over_budget_allowed_ = false;

  std::uint32_t evictions_ = 0;  // pages ever moved out, wraps

  std::vector<Evicting> batch_;  // open MOVE batch; empty = none
  std::vector<MoveRequest> move_requests_;
  std::uint64_t batch_started_ns_ = 0;
  std::vector<std::uint64_t> unshare_;
  std::vector<Rest> rests_;
  std::uint64_t eviction_pause_ns_ = 0;  // no batch before

  std::vector<std::uint32_t> groups_;   // fetch groups under way
  bool fetch_failed_ = false;           // some fetch is to be posted again
  bool arrived_ = false;                // some group has bytes to look at
  bool fill_again_ = false;             // a fill got EAGAIN: events must be read

  std::vector<std::uint32_t> blocked_;  // dirty slots that may not be sent yet
  bool recheck_blocked_ = false;
  bool store_full_ = false;  // ResourceExhausted until something came back
  std::uint64_t resend_ns_ = 0;
  std::uint32_t sending_ = 0;
  std::vector<TrimRange> trims_, deferred_trims_;  // deferred: until no child lives
  std::vector<DirtyPage> dirty_pages_;

  std::uint64_t trouble_since_ns_ = 0;  // 0 = none
  std::string trouble_;
  bool holding_ = false;

  std::uint64_t next_scan_ns_ = 0, next_full_scan_ns_ = 0, next_probe_ns_ = 0;
  std::vector<AddressRange> candidates_, present_;
  absl::flat_hash_map<std::uint64_t, std::uint64_t> young_;  // start of a small new area → first seen
  absl::flat_hash_map<std::uint64_t, std::uint64_t> refused_;  // start → end of areas that could not be registered
  std::vector<AddressRange> suspects_;  // dropped by REMOVE, may be present again unseen
  std::uint64_t suspects_ns_ = 0;
  std::vector<Pin> pins_;

  std::uint64_t state_counts_[kPageStateCount] = {};  // of the root; kZero is not counted
  std::int64_t local_at_scan_ = 0;
  std::uint64_t pin_check_ns_ = 0;
  log::RateLimit budget_log_{}, trouble_log_{};

  bool killed_ = false;
  bool lost_ = false;  // the store will call no more
  bool destroyed_ = false;
  bool ended_ = false;
};

}  // namespace ashlar::pnode
