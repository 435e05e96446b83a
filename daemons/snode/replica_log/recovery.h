// Rebuilds the index from what is on disk. Reads only. See "Start" in README.md.
#pragma once

#include "absl/status/statusor.h"
#include "daemons/snode/replica_log/committer.h"
#include "daemons/snode/replica_log/log_device.h"
#include "daemons/snode/replica_log/page_index.h"
#include "daemons/snode/replica_log/segment_table.h"
#include "daemons/snode/replica_log/superblock.h"

namespace ashlar::snode {

// Fills `segments` and `index`, both new, and says where the chain ends. DataLoss, with words: an acknowledged batch is
// missing or damaged, or something is not understood.
absl::StatusOr<ChainEnd> Recover(LogDevice& device, const Superblock& superblock, SegmentTable& segments,
                                 PageIndex& index);

}  // namespace ashlar::snode
