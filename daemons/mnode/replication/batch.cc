#include "daemons/mnode/replication/batch.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "daemons/mnode/replication/replicator.h"

namespace ashlar::mnode {

void Batch::Add(const PageVersion& version, bool has_bytes) {
  ASHLAR_CHECK(count_ < pages_.size(), "a batch takes {} pages", pages_.size());
  pages_[count_++] = {version, has_bytes, fit::Code::kUnavailable};
  if (has_bytes) used_bytes_ += static_cast<std::uint32_t>(kPageBytes);
}

void Batch::OnDone(const fit::CallResult& result) { replicator_->AppendDone(*this, result); }
void Batch::OnReleased() { replicator_->AppendReleased(*this); }

absl::StatusOr<std::unique_ptr<BatchBuffers>> BatchBuffers::Create(fit::Shard& shard, std::uint64_t bytes) {
  const std::size_t count = bytes / kBatchBytes;
  if (count < 4 || count > UINT16_MAX)
    return absl::InvalidArgumentError(absl::StrCat("intake: ", bytes, " bytes: must be 1 MiB to 16 GiB"));
  ASHLAR_ASSIGN_OR_RETURN(Mapping memory, Mapping::Anonymous(count * kBatchBytes));
  ASHLAR_ASSIGN_OR_RETURN(std::unique_ptr<fabric::Region> region, shard.Register(memory.bytes()));
  return std::unique_ptr<BatchBuffers>(new BatchBuffers(std::move(memory), std::move(region), count));
}

BatchBuffers::BatchBuffers(Mapping memory, std::unique_ptr<fabric::Region> region, std::size_t count)
    : memory_(std::move(memory)), region_(std::move(region)), batches_(count) {
  free_.reserve(count);
  for (std::size_t i = count; i > 0; --i) {
    Batch& batch = batches_[i - 1];
    batch.index_ = static_cast<std::uint32_t>(i - 1);
    batch.region_ = region_.get();
    batch.offset_ = (i - 1) * kBatchBytes;
    batch.bytes_ = memory_.bytes().subspan(batch.offset_, kBatchBytes);
    free_.push_back(&batch);
  }
}

Batch* BatchBuffers::Take(SpaceId space) {
  if (free_.empty()) return nullptr;
  Batch* batch = free_.back();
  free_.pop_back();
  in_use_.Add();
  batch->space_ = space;
  batch->count_ = 0;
  batch->used_bytes_ = 0;
  batch->owner_ = nullptr;
  batch->catch_up_ = false;
  return batch;
}

void BatchBuffers::Return(Batch& batch) {
  free_.push_back(&batch);
  in_use_.Sub();
}

}  // namespace ashlar::mnode
