// The page store over FIT: pages live in the frames of a home mnode, which keeps them durable at a snode.
//
// Fetches are one-sided reads through a window per extent, in batches; without a window they go by FetchPages. Write-backs
// are one call per batch, their extents mapped on demand. After a lost link windows are asked for again and reads are
// repeated until their deadline. A home that restarted kept nothing: every space with pages there is lost.
//
// Buffers go back to the caller only when no work request names them any more (fit::PendingCall::OnReleased), also after
// an error. Events wait in a queue and are delivered by Poll only.
// Bounds: write-back batches (options), fetches (the caller's buffers), trims per space, each with its deadline.
//
// Threads: one owner thread (the fault thread, which is also the shard's); CollectStats from any.
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
#include "daemons/pnode/remote_page_store/remote_space.h"

namespace ashlar::pnode {

struct RemotePageStoreOptions {
  std::string home;                                   // for people: "m1"
  std::string storage;                                // for people: where the home keeps pages, "s1"; may be empty
  AckLevel level = AckLevel::kDisk;                   // asked for; the one reached stands in OnWrittenBack
  std::uint32_t max_write_backs = 6;                  // batches under way: FIT's bulk slots less the two kept free
  std::uint32_t max_trims = 65536;                    // ranges waiting per space
  std::uint64_t fetch_timeout_ns = 2'000'000'000;     // then Unavailable; repeats inside it are not seen
  std::uint64_t write_back_timeout_ns = 5'000'000'000;
  std::uint64_t control_timeout_ns = 5'000'000'000;   // MapExtents, Trim, UnmapExtents, DestroySpace: repeated
};

class RemotePageStore final : public PageStore, public fit::ConnectionEvents {
 public:
  RemotePageStore(fit::Shard& shard, RemotePageStoreOptions options, const Clock& clock = Clock::Real());
  ~RemotePageStore() override;
  // Once, before the first space: the link to the home, made with this object as its events.
  void Attach(std::unique_ptr<fit::Connection> connection);

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

  bool link_up() const { return link_up_.value() != 0; }
  fit::LinkReport link_report() const { return connection_->report(); }  // any thread, after Attach
  std::size_t space_count() const { return spaces_.size(); }  // also those whose end is not confirmed yet
  void CollectStats(StatList& stats) const;                   // any thread

  void OnUp(Incarnation server, std::uint64_t connection_epoch) override;
  void OnDown(const absl::Status& reason) override;

 private:
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
  };
  // A batch of fetches on the wire: one-sided, or by message.
  struct ReadCall final : fit::PendingCall {
    void OnDone(const fit::CallResult& result) override { store->ReadDone(*this, result); }
    void OnReleased() override { store->ReadReleased(*this); }
    RemotePageStore* store = nullptr;
    bool by_message = false;
    std::array<FetchOp*, kReadPages> ops{};
    std::array<absl::Status, kReadPages> results;
    std::size_t count = 0;
    std::uint64_t started_ns = 0;
    bool again = false;  // the wire failed: repeat
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
    RemoteSpace* space = nullptr;
    std::array<Page, kMaxWriteBackPages> pages;
    std::array<fabric::Slice, kMaxWriteBackPages> slices;
    std::size_t count = 0, slice_count = 0;
    std::uint64_t ticket = 0, deadline_ns = 0, started_ns = 0;
    absl::Status waits_for;  // what the caller hears if the deadline passes before it was sent
  };
  // MapExtents, Trim, UnmapExtents or DestroySpace of one space.
  struct ControlCall final : fit::PendingCall {
    void OnDone(const fit::CallResult& result) override { store->ControlDone(*this, result); }
    void OnReleased() override { store->ControlReleased(*this); }
    RemotePageStore* store = nullptr;
    RemoteSpace* space = nullptr;
    fit::wire::Opcode opcode{};
    std::uint64_t first = 0;  // MapExtents: the range asked for
    std::uint32_t count = 0;  // … and of trims
    std::uint32_t flags = 0;
    std::array<std::uint64_t, 64> unmapped{};  // UnmapExtents: extent numbers
    bool erase_space = false;
  };
  std::string OutOfReachWords() const;

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
  void Gather(FetchOp* op, bool by_message);
  void SendGathered();
  bool SendRead(ReadCall& call);
  bool SendFetchPages(ReadCall& call);
  void ReadDone(ReadCall& call, const fit::CallResult& result);
  void TakeFetchedPages(ReadCall& call, const fit::CallResult& result);
  void ReadReleased(ReadCall& call);
  void FinishFetch(FetchOp* op, absl::Status status);
  void RetryFetches();

  // Writing back.
  void TryStart(WriteBackOp& op);
  bool MapForWriteBack(WriteBackOp& op);
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
  void SendMap(RemoteSpace& space, std::uint64_t first, std::uint32_t extents, std::uint32_t flags);
  void SendTrims(RemoteSpace& space);
  bool SendUnmap(RemoteSpace& space);
  void SendDestroy(RemoteSpace& space);
  void ControlDone(ControlCall& call, const fit::CallResult& result);
  void MapDone(ControlCall& call, const fit::CallResult& result);
  absl::Status TakeGrants(ControlCall& call, const fit::CallResult& result);
  void ControlReleased(ControlCall& call);

  void LoseSpace(RemoteSpace& space, absl::Status why);
  // True if that answer means that the space is lost; it was told so then.
  bool LostBy(RemoteSpace& space, fit::Code code);
  void Leave(RemoteSpace& space);  // one active request less
  void ArmTick();
  void Tick();

  fit::Shard& shard_;
  const RemotePageStoreOptions options_;
  const Clock& clock_;
  PageStoreEvents* events_ = nullptr;
  std::vector<Buffer> buffers_;
  absl::flat_hash_map<SpaceId, std::unique_ptr<RemoteSpace>> spaces_;
  Incarnation home_incarnation_;
  std::vector<Event> finished_, delivering_;  // swapped by Poll
  Recycler<FetchOp> fetch_ops_;
  Recycler<ReadCall> read_calls_;
  Recycler<ControlCall> control_calls_;
  std::deque<FetchOp*> waiting_;  // for a window, the link, or room on it
  ReadCall* gathering_ = nullptr;
  std::deque<WriteBackOp> write_backs_;  // [options.max_write_backs]
  std::uint32_t write_backs_busy_ = 0;
  std::uint32_t write_backs_allowed_ = 0;  // by the home's hints
  std::uint64_t write_back_not_before_ns_ = 0;
  std::uint64_t last_ticket_ = 0;
  bool tick_armed_ = false;
  log::RateLimit trouble_log_{5'000'000'000};

  Counter link_up_, link_losses_, fetch_pages_read_, fetch_pages_by_message_, fetch_retries_, fetch_failures_, write_back_batches_,
      write_back_pages_, write_back_zero_pages_, write_back_failures_, write_backs_refused_, trims_sent_, trims_skipped_,
      trims_dropped_, extents_mapped_, extents_unmapped_, map_calls_, spaces_lost_, damaged_on_the_way_, write_batches_allowed_;
  Histogram fetch_wire_ns_, write_back_ns_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<fit::Connection> connection_;  // last: its destruction ends every call, into the members above
};

}  // namespace ashlar::pnode
