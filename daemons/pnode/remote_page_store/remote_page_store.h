// The page store over FIT: the pages of a space live in the frames of its home mnode, which keeps them durable at a snode.
//
// Fetches are one-sided reads through a window per extent, in batches; without a window they go by FetchPages. Write-backs
// are one call per batch, their extents mapped on demand. After a lost link windows are asked for again and reads are
// repeated until their deadline.
// A home that restarted, stayed away, or is drained is left: the space is fenced at the storage nodes with a higher epoch,
// its pages are read from there at once, and another memory node (or the restarted one) is filled behind. Without storage
// nodes a space with pages on a restarted home is lost. See rehoming.h, and "When a home goes" in README.md.
//
// Buffers go back to the caller only when no work request names them any more (fit::PendingCall::OnReleased), also after
// an error. Events wait in a queue and are delivered by Poll only.
// Bounds: write-back batches per home (options), fetches (the caller's buffers), trims per space, each with its deadline;
// extents refilled at the same time per space (kMaxRefilling).
//
// Threads: one owner thread (the fault thread, which is also the shard's); CollectStats and Spaces from any.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/clock.h"
#include "common/fit/connection.h"
#include "common/fit/messages.h"
#include "common/fit/shard.h"
#include "common/telemetry/counter.h"
#include "common/telemetry/histogram.h"
#include "common/telemetry/log.h"
#include "common/telemetry/stat_list.h"
#include "daemons/pnode/paging/page_store.h"
#include "daemons/pnode/remote_page_store/links.h"
#include "daemons/pnode/remote_page_store/remote_space.h"
#include "daemons/pnode/remote_page_store/space_board.h"

namespace ashlar::pnode {

enum class Placement : std::uint8_t { kMostFree, kWeight };

struct RemotePageStoreOptions {
  Placement placement = Placement::kMostFree;         // which memory node a new or a moved space goes to
  AckLevel level = AckLevel::kDisk;                   // asked for; the one reached stands in OnWrittenBack
  std::uint32_t max_write_backs = 6;                  // batches under way per home: FIT's bulk slots less the two kept free
  std::uint32_t max_trims = 65536;                    // ranges waiting per space
  std::uint64_t fetch_timeout_ns = 2'000'000'000;     // then Unavailable; repeats inside it are not seen
  std::uint64_t write_back_timeout_ns = 5'000'000'000;
  std::uint64_t control_timeout_ns = 5'000'000'000;   // MapExtents, Trim, UnmapExtents, DestroySpace, …: repeated
  std::uint64_t fail_over_ns = 200'000'000;           // without a link to its home, before a space is moved
};

class RemotePageStore final : public PageStore {
 public:
  RemotePageStore(fit::Shard& shard, RemotePageStoreOptions options, const Clock& clock = Clock::Real());
  ~RemotePageStore() override;
  // Before the first space; each is given its link with Attach. They live as long as the store.
  HomeLink& AddHome(HomeOptions options);
  StorageLink& AddStorage(std::string name);
  // Moves every space off that home while programs run, and chooses it no more; or may choose it again. False: not known.
  bool Drain(std::string_view home, bool drained);

  void SetEvents(PageStoreEvents* events) override { events_ = events; }
  absl::Status AddBuffer(std::span<std::byte> bytes) override;
  void RemoveBuffer(std::span<std::byte> bytes) override;
  absl::Status CreateSpace(SpaceId space) override;
  void DestroySpace(SpaceId space) override;
  void Fetch(std::span<const FetchRequest> requests) override;
  absl::Status WriteBack(SpaceId space, std::span<const DirtyPage> pages) override;
  void Trim(SpaceId space, std::span<const TrimRange> ranges) override;
  int Poll() override;
  void Arm() override { shard_.Arm(); }
  int event_fd() const override { return shard_.event_fd(); }
  std::uint64_t NextTimerNs() const override { return shard_.NextTimerNs(); }

  std::vector<fit::LinkReport> link_reports() const;          // any thread, after all were attached
  std::size_t space_count() const { return spaces_.size(); }  // also those whose end is not confirmed yet
  const SpaceBoard& board() const { return board_; }          // any thread
  void CollectStats(StatList& stats) const;                   // any thread

 private:
  friend struct HomeLink;
  friend struct StorageLink;
  static constexpr std::size_t kMaxRefilling = 4;  // extents of one space on their way to its home at one time
  static constexpr std::size_t kReadPages = 16;  // pieces of one one-sided batch

  struct Event {
    enum class Kind : std::uint8_t { kFetched, kWrittenBack, kSpaceLost } kind{};
    AckLevel level = AckLevel::kHome;
    std::uint64_t id = 0;  // cookie or space
    absl::Status status;
  };
  struct FetchOp {
    FetchRequest request;
    fabric::Slice target;
    RemoteSpace* space = nullptr;
    std::uint64_t deadline_ns = 0;
    std::uint64_t not_at = 0;  // storage nodes that do not have this version, as bits
  };
  // A batch of fetches on the wire: one-sided, by message to the home, or from a storage node.
  struct ReadCall final : fit::PendingCall {
    void OnDone(const fit::CallResult& result) override { store->ReadDone(*this, result); }
    void OnReleased() override { store->ReadReleased(*this); }
    RemotePageStore* store = nullptr;
    HomeLink* home = nullptr;        // nullptr: from `storage`
    StorageLink* storage = nullptr;
    bool by_message = false;
    bool busy = false;
    std::array<FetchOp*, kReadPages> ops{};
    std::array<absl::Status, kReadPages> results;
    std::size_t count = 0;
    std::uint64_t started_ns = 0;
    bool again = false;     // what did not come is asked for again
    bool answered = false;  // by a storage node
  };
  struct WriteBackOp final : fit::PendingCall {
    enum class State : std::uint8_t { kFree, kWaiting, kSent };
    struct Page {
      PageNumber page;
      Version version;
      std::uint32_t crc32c = 0;
      Cookie cookie = 0;
      bool has_bytes = false;
      absl::Status status;
      AckLevel level = AckLevel::kHome;
    };
    void OnDone(const fit::CallResult& result) override { store->WriteBackDone(*this, result); }
    void OnReleased() override { store->FinishWriteBack(*this); }
    RemotePageStore* store = nullptr;
    State state = State::kFree;
    HomeLink* home = nullptr;  // where it goes; nullptr: it waits for a home
    Epoch epoch;               // under which it was sent
    RemoteSpace* space = nullptr;
    std::array<Page, kMaxWriteBackPages> pages;
    std::array<fabric::Slice, kMaxWriteBackPages> slices;
    std::size_t count = 0, slice_count = 0;
    std::uint64_t ticket = 0, deadline_ns = 0, started_ns = 0;
    absl::Status waits_for;  // what the caller hears if the deadline passes before it was sent
  };
  // MapExtents, Trim, UnmapExtents, DestroySpace or Compare of one space, at its home.
  struct ControlCall final : fit::PendingCall {
    void OnDone(const fit::CallResult& result) override { store->ControlDone(*this, result); }
    void OnReleased() override { store->ControlReleased(*this); }
    RemotePageStore* store = nullptr;
    HomeLink* home = nullptr;
    RemoteSpace* space = nullptr;
    bool busy = false;
    fit::wire::Opcode opcode{};
    std::uint64_t first = 0;  // MapExtents: the range asked for
    std::uint32_t count = 0;  // … and of trims
    std::uint32_t flags = 0;
    std::array<std::uint64_t, 64> unmapped{};  // UnmapExtents: extent numbers
    bool erase_space = false;
  };
  // FenceEpoch at one storage node, or the release of a space at a former home.
  struct FenceCall final : fit::PendingCall {
    void OnDone(const fit::CallResult& result) override { store->FenceDone(*this, result); }
    void OnReleased() override { store->fence_calls_.Give(this); }
    RemotePageStore* store = nullptr;
    RemoteSpace* space = nullptr;
    StorageLink* storage = nullptr;
    Epoch epoch;
  };
  struct ReleaseCall final : fit::PendingCall {
    void OnDone(const fit::CallResult& result) override { store->ReleaseDone(*this, result); }
    void OnReleased() override { store->ReleaseReleased(*this); }
    RemotePageStore* store = nullptr;
    HomeLink* home = nullptr;
    HomeLink::Former former;
  };

  struct Buffer {
    std::span<std::byte> bytes;
    std::unique_ptr<fabric::Region> region;
  };
  template <typename T>
  struct Recycler {  // objects made once and used again
    std::deque<T> all;
    std::vector<T*> free;
    T* Take() {
      if (free.empty()) return &all.emplace_back();
      T* one = free.back();
      free.pop_back();
      return one;
    }
    void Give(T* one) { free.push_back(one); }
  };

  fabric::Slice SliceOf(std::span<const std::byte> bytes) const;
  RemoteSpace* FindSpace(SpaceId id) const;
  std::uint64_t Now() const { return clock_.NowNs(); }

  // Fetching.
  void Dispatch(FetchOp* op);  // into the batch being gathered, or to waiting_
  void Wait(FetchOp* op);
  void Gather(FetchOp* op, HomeLink* home, StorageLink* storage, bool by_message);
  void SendGathered();
  bool SendRead(ReadCall& call);
  bool SendFetchPages(ReadCall& call);
  bool SendRecoverRead(ReadCall& call);
  void ReadDone(ReadCall& call, const fit::CallResult& result);
  void TakeFetchedPages(ReadCall& call, const fit::CallResult& result);
  void ReadReleased(ReadCall& call);
  void FinishFetch(FetchOp* op, absl::Status status);
  void RetryFetches();

  // From the storage nodes.
  void DispatchToStorage(FetchOp* op);
  void RecoverReadDone(ReadCall& call, const fit::CallResult& result);
  absl::Status TakeRecovered(FetchOp& op, const fit::wire::PageHave& have, std::span<const std::byte> bulk, const StorageLink& from);

  // Writing back.
  void TryStart(WriteBackOp& op);
  bool MapForWriteBack(WriteBackOp& op);
  std::uint32_t& BusyOf(HomeLink* home) { return home != nullptr ? home->write_backs_busy : write_backs_without_home_; }
  void WriteBackDone(WriteBackOp& op, const fit::CallResult& result);
  void TakeResults(WriteBackOp& op, const fit::CallResult& result);
  void FinishWriteBack(WriteBackOp& op);
  void FailWriteBack(WriteBackOp& op, const absl::Status& status);
  void RetryWriteBacks();
  std::uint64_t OldestTicket(const RemoteSpace& space) const;

  // Control calls of a space.
  void PumpSpace(RemoteSpace& space);
  void PumpMap(RemoteSpace& space);
  void PumpControl(RemoteSpace& space);
  bool StartControl(RemoteSpace& space, ControlCall& call, std::span<const std::byte> payload);
  ControlCall& NewControl(RemoteSpace& space, fit::wire::Opcode opcode);
  bool& BusyFlag(RemoteSpace& space, fit::wire::Opcode opcode);
  void SendMap(RemoteSpace& space, std::uint64_t first, std::uint32_t extents, std::uint32_t flags);
  void SendTrims(RemoteSpace& space);
  bool SendUnmap(RemoteSpace& space);
  void SendDestroy(RemoteSpace& space);
  void ControlDone(ControlCall& call, const fit::CallResult& result);
  void MapDone(ControlCall& call, const fit::CallResult& result);
  absl::Status TakeGrants(ControlCall& call, const fit::CallResult& result);
  void ControlReleased(ControlCall& call);

  // Between homes.
  void HomeUp(HomeLink& home, Incarnation server);
  void HomeDown(HomeLink& home, const absl::Status& reason);
  void StorageUp(StorageLink& storage);
  void StorageDown(StorageLink& storage, const absl::Status& reason);
  void Apply(RemoteSpace& space, RehomeEvent event);
  void LeaveHome(RemoteSpace& space, std::string_view why);
  void LeaveHomesThatStayAway();
  void CancelCallsTo(HomeLink& home, RemoteSpace& space);
  void PumpRehome(RemoteSpace& space);
  void SendFences(RemoteSpace& space);
  void FenceDone(FenceCall& call, const fit::CallResult& result);
  void JudgeFences(RemoteSpace& space);
  HomeLink* ChooseHome(const RemoteSpace& space) const;
  void ReleaseFormers(HomeLink& home);
  void ReleaseDone(ReleaseCall& call, const fit::CallResult& result);
  void ReleaseReleased(ReleaseCall& call);
  void Report(const RemoteSpace& space);  // to the board

  // Refilling the new home.
  void PumpRefill(RemoteSpace& space);
  bool SendRefillMap(RemoteSpace& space);
  void OnRefillMapped(RemoteSpace& space, std::uint64_t number);
  void SendCompare(RemoteSpace& space);
  void CompareDone(ControlCall& call, const fit::CallResult& result);
  void CheckProved(RemoteSpace& space, std::uint64_t number);

  void LoseSpace(RemoteSpace& space, absl::Status why);
  // True if that answer of its home means that the home is no home of it any more: it was left, or the space is lost.
  bool LostBy(RemoteSpace& space, fit::Code code);
  std::string OutOfReachWords(const HomeLink& home) const;
  std::string NoHomeWords() const;
  void Leave(RemoteSpace& space);  // one active request less
  void ArmTick();
  void Tick();

  fit::Shard& shard_;
  const RemotePageStoreOptions options_;
  const Clock& clock_;
  PageStoreEvents* events_ = nullptr;
  std::vector<Buffer> buffers_;
  absl::flat_hash_map<SpaceId, std::unique_ptr<RemoteSpace>> spaces_;
  std::vector<Event> finished_, delivering_;  // swapped by Poll
  Recycler<FetchOp> fetch_ops_;
  Recycler<ReadCall> read_calls_;
  Recycler<ControlCall> control_calls_;
  Recycler<FenceCall> fence_calls_;
  Recycler<ReleaseCall> release_calls_;
  std::deque<FetchOp*> waiting_;  // for a window, the link, or room on it
  ReadCall* gathering_ = nullptr;
  std::deque<WriteBackOp> write_backs_;  // [options.max_write_backs per home, and as many that wait for one]
  std::uint32_t write_backs_without_home_ = 0;
  std::uint64_t last_ticket_ = 0;
  bool tick_armed_ = false;
  log::RateLimit trouble_log_{5'000'000'000};

  SpaceBoard board_;
  Counter fetch_pages_read_, fetch_pages_by_message_, fetch_retries_, fetch_failures_, write_back_batches_,
      write_back_pages_, write_back_zero_pages_, write_back_failures_, write_backs_refused_, trims_sent_, trims_skipped_,
      trims_dropped_, extents_mapped_, extents_unmapped_, map_calls_, spaces_lost_, damaged_on_the_way_,
      homes_left_, extents_refilled_, refills_repeated_, fetch_pages_recovered_;
  Histogram fetch_wire_ns_, write_back_ns_, recover_read_ns_, fence_ns_, refill_ns_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  // Last: the end of their connections ends every call, into the members above.
  std::deque<HomeLink> homes_;
  std::deque<StorageLink> storages_;
};

}  // namespace ashlar::pnode
