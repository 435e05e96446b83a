// What an mnode does for pnodes: lends extents, takes write-backs and answers them when they are as safe as this node was
// told to make them, drops what is trimmed, frees what has ended. Reads are one-sided and do not come through here.
//
// It answers on the shard's thread and never blocks: an answer that needs the snode is sent when the snode has answered,
// or as unavailable before the caller's deadline. "Never acknowledged below the level" is kept here: with replicas > 0 a
// page is answered OK only when the snode's disk has this version.
//
// Threads: only the shard's, except CollectStats.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/fit/connection.h"
#include "common/fit/server.h"
#include "common/fit/shard.h"
#include "common/telemetry/counter.h"
#include "common/telemetry/histogram.h"
#include "common/telemetry/log.h"
#include "common/telemetry/stat_list.h"
#include "daemons/mnode/client_table.h"
#include "daemons/mnode/grant_table.h"
#include "daemons/mnode/pool/pool.h"
#include "daemons/mnode/pool/space_table.h"
#include "daemons/mnode/replication/batch.h"
#include "daemons/mnode/replication/extent_filler.h"
#include "daemons/mnode/replication/replica_set.h"

namespace ashlar::mnode {

struct MemoryServiceOptions {
  Incarnation incarnation;  // of this mnode
  std::uint64_t pool_bytes = 0;
  Mapping::HugePages huge_pages = Mapping::HugePages::kTry;
  std::uint32_t replicas = 0;  // 0: home only; 1: one snode, and `disk` is what is acknowledged
  std::vector<SnodeOptions> snodes;  // to choose from; none needed if replicas is 0
  std::uint64_t replace_after_ns = 3'000'000'000;  // without a link to a space's snode, before another takes over
  std::uint64_t intake_bytes = 64 << 20;  // write-backs under way to the snode; beyond it kExhausted
  // A pnode away for so long has given up: its extents are freed here (the snode keeps its pages). Twice its `give_up`.
  std::uint64_t absent_ns = 120'000'000'000;
  ReplicatorOptions replicator;
};

class MemoryService : public fit::Handler, private BatchOwner {
 public:
  static absl::StatusOr<std::unique_ptr<MemoryService>> Create(fit::Shard& shard, const MemoryServiceOptions& options,
                                                               const Clock& clock = Clock::Real());
  // Its Server is destroyed before it.
  ~MemoryService() override;

  // nullptr: replicas is 0. Else give each member its link, made with it as the events: member.Attach(Connection::Create(…)).
  ReplicaSet* replicas() { return replicas_.get(); }

  void Handle(const fit::RequestView& request, fit::ReplyWriter reply) override;
  void OnClientDown(const fit::Client& client) override;

  void CollectStats(StatList& stats) const;  // any thread
  struct Usage {
    std::uint64_t used_bytes = 0, pool_bytes = 0;
  };
  Usage usage() const { return {pool_->extents_used().value() * kExtentBytes, pool_->extent_count() * kExtentBytes}; }  // any thread

 private:
  // A write-back whose pages are on their way to the snode; one per batch buffer.
  struct WriteBackCall {
    std::optional<fit::ReplyWriter> reply;
    std::uint32_t count = 0;
    std::array<fit::wire::PageResult, fit::wire::kMaxPagesPerCall> results;
    std::array<std::uint8_t, fit::wire::kMaxPagesPerCall> result_of;  // [page of the batch] → index in results
    std::uint64_t started_ns = 0;
  };

  MemoryService(fit::Shard& shard, const MemoryServiceOptions& options, const Clock& clock);

  // The space, if it is here, owned by that client and in that epoch; else answers and returns nullptr.
  Space* Admit(const fit::RequestView& request, SpaceId id, Epoch epoch, fit::ReplyWriter& reply);
  void AnswerStale(Epoch current, fit::ReplyWriter& reply);
  void Reject(fit::ReplyWriter& reply);  // kMalformed
  void MapExtents(const fit::RequestView& request, fit::ReplyWriter reply);
  void UnmapExtents(const fit::RequestView& request, fit::ReplyWriter reply);
  void FetchPages(const fit::RequestView& request, fit::ReplyWriter reply);
  void Compare(const fit::RequestView& request, fit::ReplyWriter reply);
  void WriteBack(const fit::RequestView& request, fit::ReplyWriter reply);
  void Trim(const fit::RequestView& request, fit::ReplyWriter reply);
  void DestroySpace(const fit::RequestView& request, fit::ReplyWriter reply);

  // Takes one page in. True: it was added to `batch` and its result comes from the snode.
  bool TakePage(Space& space, const fit::wire::PageDirty& dirty, std::span<const std::byte> bytes, Batch* batch,
                fit::wire::PageResult& result);
  void OnAppended(Batch& batch, const AppendOutcome& outcome) override;
  void SendResults(SpaceId space, fit::ReplyWriter& reply, std::span<const fit::wire::PageResult> results);

  // False: answered; there is no such space here, or not for that client.
  bool AdmitOrMake(const fit::RequestView& request, SpaceId id, Epoch epoch, fit::ReplyWriter& reply);
  void FreeExtent(ExtentIndex extent, std::shared_ptr<void> until_freed);
  enum class Afterwards { kEnded, kMayReturn };  // its id is never used again, or it may come back under a higher epoch
  void FreeSpace(Space& space, const std::shared_ptr<void>& until_freed, Afterwards afterwards);
  void EndSpacesOf(const SpaceOwner& owner, std::string_view reason, bool at_snode);
  void ArmTick();
  void Tick();
  fit::Hints HintsNow(SpaceId space, std::uint16_t retry_after_ms = 0) const;
  fit::Deadline AnswerBy(const fit::RequestView& request) const;

  fit::Shard& shard_;
  const MemoryServiceOptions options_;
  const Clock& clock_;
  std::unique_ptr<Pool> pool_;
  std::unique_ptr<fabric::Region> pool_region_;
  std::unique_ptr<SpaceTable> spaces_;
  std::unique_ptr<GrantTable> grants_;
  ClientTable clients_;
  std::unique_ptr<BatchBuffers> buffers_;  // nullptr: replicas is 0
  std::vector<WriteBackCall> calls_;       // [buffer count]
  bool tick_armed_ = false;
  log::RateLimit refusals_log_{5'000'000'000};

  Counter spaces_count_, write_backs_, pages_taken_, zero_pages_, pages_already_, pages_superseded_, bad_crc_, two_versions_,
      malformed_, stale_epoch_, intake_full_, pool_full_, trims_, fetched_pages_, clients_replaced_, clients_gone_;
  Histogram write_back_ns_;
  alignas(64) std::array<std::byte, kPageBytes> scratch_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::unique_ptr<ExtentFiller> filler_;  // nullptr: replicas is 0
  std::unique_ptr<ReplicaSet> replicas_;  // last: its end ends every batch and read, into the members above
};

}  // namespace ashlar::mnode
