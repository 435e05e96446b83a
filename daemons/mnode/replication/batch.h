// Pages on their way to the snode, and the bounded memory they wait in. A batch's bytes were copied in and checked; they
// do not change until every work request that names them has retired.
//
// Threads: one thread at a time (the shard's).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/base/mapping.h"
#include "common/fit/call.h"
#include "common/fit/messages.h"
#include "common/fit/shard.h"
#include "common/telemetry/counter.h"
#include "daemons/mnode/pool/space.h"

namespace ashlar::mnode {

class Replicator;
class Batch;

// How a batch, or one page of it, ended. kOk: on the snode's disk.
struct AppendOutcome {
  fit::Code code = fit::Code::kUnavailable;
  std::uint16_t retry_after_ms = 0;
};

class BatchOwner {
 public:
  virtual ~BatchOwner() = default;
  // Once per batch given to Replicator::Append. If outcome.code is kOk, each page's own code tells more. It must not add or end
  // spaces from here.
  virtual void OnAppended(Batch& batch, const AppendOutcome& outcome) = 0;
};

class Batch final : public fit::PendingCall {
 public:
  struct Page {
    PageVersion version;
    bool has_bytes = false;  // else a zero page
    fit::Code code = fit::Code::kUnavailable;  // the snode's, when OnAppended runs
  };

  std::uint32_t index() const { return index_; }  // 0…buffer count - 1
  SpaceId space() const { return space_; }
  std::span<Page> pages() { return {pages_.data(), count_}; }
  std::span<std::byte> NextPageBuffer() { return bytes_.subspan(used_bytes_, kPageBytes); }  // where to copy the next page
  // Takes the page whose bytes stand in NextPageBuffer(), or a zero page.
  void Add(const PageVersion& version, bool has_bytes);
  fabric::Slice slice() const { return {region_, offset_, used_bytes_}; }
  std::uint32_t used_bytes() const { return used_bytes_; }

  void OnDone(const fit::CallResult& result) override;
  void OnReleased() override;

 private:
  friend class BatchBuffers;
  friend class Replicator;

  // Fixed for the life of the buffers.
  std::uint32_t index_ = 0;
  fabric::Region* region_ = nullptr;
  std::uint64_t offset_ = 0;
  std::span<std::byte> bytes_;
  // Of this use.
  SpaceId space_;
  std::array<Page, fit::wire::kMaxPagesPerCall> pages_;
  std::uint32_t count_ = 0;
  std::uint32_t used_bytes_ = 0;
  std::uint64_t ticket_ = 0;
  Epoch epoch_;  // under which it was sent
  fit::Deadline deadline_;
  BatchOwner* owner_ = nullptr;
  Replicator* replicator_ = nullptr;
  bool catch_up_ = false;
};

class BatchBuffers {
 public:
  static constexpr std::uint32_t kBatchBytes = fit::wire::kMaxPagesPerCall * kPageBytes;  // 256 KiB

  // `bytes` is rounded down to whole batches; InvalidArgument below four.
  static absl::StatusOr<std::unique_ptr<BatchBuffers>> Create(fit::Shard& shard, std::uint64_t bytes);

  Batch* Take(SpaceId space);  // empty; nullptr: all are in use
  void Return(Batch& batch);
  std::size_t count() const { return batches_.size(); }
  std::size_t free_count() const { return free_.size(); }
  std::size_t used_percent() const { return (count() - free_count()) * 100 / count(); }
  const Counter& in_use() const { return in_use_; }

 private:
  BatchBuffers(Mapping memory, std::unique_ptr<fabric::Region> region, std::size_t count);
  Mapping memory_;
  std::unique_ptr<fabric::Region> region_;
  std::vector<Batch> batches_;
  std::vector<Batch*> free_;
  Counter in_use_;
};

}  // namespace ashlar::mnode
