// Finds the batches of one segment by their headers. Reads, changes nothing.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "daemons/snode/replica_log/chain.h"
#include "daemons/snode/replica_log/log_device.h"

namespace ashlar::snode {

struct SegmentScan {
  std::uint64_t generation = 0;          // 0 = never used
  bool first_block_bad = false;          // no header in block 0, although something else is there
  std::vector<FoundBatch> batches;       // of that generation, in block order; of a sealed segment one for all
  bool sealed = false;                   // a footer that can be believed says what the segment holds:
  std::vector<disk::Entry> entries;      // all of it
  std::uint64_t acknowledged_upto = 0;   // a seal proves it, also one whose footer is damaged
};

// A segment with a seal is known by its footer, unless block 0, or any block when that one is bad, shows that it has
// been used again since. Of any other it goes from header to header; where none follows it looks at every block behind for headers of this segment, since a
// torn batch can hide good ones. Data blocks hold whatever programs wrote, headers of logs included: a header counts
// only with this store's uuid, in its own segment and block. In block 0 a good header that is not ours is DataLoss.
absl::StatusOr<SegmentScan> ScanSegment(LogDevice& device, const disk::StoreUuid& store_uuid, std::uint32_t segment,
                                        std::uint32_t blocks);

// Reads and verifies a whole batch: header, place, and the CRC of every data block. False: it does not verify.
absl::StatusOr<bool> BatchVerifies(LogDevice& device, const disk::StoreUuid& store_uuid, const FoundBatch& batch);

}  // namespace ashlar::snode
