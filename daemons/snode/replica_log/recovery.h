// Rebuilds the index from what is on disk. Reads only. See "Start" in README.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemons/snode/replica_log/committer.h"
#include "daemons/snode/replica_log/log_device.h"
#include "daemons/snode/replica_log/page_index.h"
#include "daemons/snode/replica_log/segment_table.h"
#include "daemons/snode/replica_log/superblock.h"

namespace ashlar::snode {

struct Recovered {
  ChainEnd end;
  std::uint32_t sealed_segments = 0, scanned_segments = 0;
  std::uint32_t void_batches = 0;       // in flight when the writer stopped, copied to quarantine
  std::vector<SegmentLife> unsealed;    // the oldest segments that have no footer, to be given one; a few
  std::vector<std::string> damage;      // what was acknowledged and is not there, for people; empty: the log is whole
};

// Fills `segments` and `index`, both new, and says where the chain ends. What was damaged is copied to quarantine and
// named in `damage`: pages of it may be missing, nothing says which. DataLoss, with words: something is not understood,
// or of another store, segment or time; nothing was changed then.
absl::StatusOr<Recovered> Recover(LogDevice& device, const Superblock& superblock, SegmentTable& segments,
                                 PageIndex& index);

}  // namespace ashlar::snode
