// Reads single blocks that lie one behind the other, a few at a time: a log of small batches is then scanned at the
// disk's bandwidth and not at its latency.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "common/base/mapping.h"
#include "common/base/status.h"
#include "daemons/snode/replica_log/log_device.h"

namespace ashlar::snode {

class HeaderWindow {
 public:
  // Small beside a full batch (84 blocks), so that little is read for nothing where batches are large.
  static constexpr std::uint32_t kBlocks = 16;

  static absl::StatusOr<HeaderWindow> Make(LogDevice& device, std::uint32_t segment_blocks) {
    ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(kBlocks * disk::kBlockBytes));
    return HeaderWindow(device, segment_blocks, std::move(buffer));
  }

  // Valid until the next call.
  absl::StatusOr<disk::ConstBlock> Read(BlockAddress at) {
    if (at.segment != from_.segment || at.block < from_.block || at.block >= from_.block + count_) {
      count_ = 0;
      const std::uint32_t count = std::min(kBlocks, segment_blocks_ - at.block);
      ASHLAR_RETURN_IF_ERROR(device_->Read(at, buffer_.bytes().first(count * disk::kBlockBytes)));
      from_ = at;
      count_ = count;
    }
    return disk::ConstBlock(
        buffer_.bytes().subspan((at.block - from_.block) * disk::kBlockBytes).first<disk::kBlockBytes>());
  }

 private:
  HeaderWindow(LogDevice& device, std::uint32_t segment_blocks, Mapping buffer)
      : device_(&device), segment_blocks_(segment_blocks), buffer_(std::move(buffer)) {}

  LogDevice* device_;
  std::uint32_t segment_blocks_;
  Mapping buffer_;
  BlockAddress from_;
  std::uint32_t count_ = 0;  // blocks in the buffer
};

}  // namespace ashlar::snode
