// Which of the batches found on disk are the log: pure rules over their headers. See "Start" in README.md.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "absl/status/statusor.h"

namespace ashlar::snode {

struct FoundBatch {
  std::uint64_t batch_seq = 0;
  std::uint64_t resumes = 0;
  std::uint64_t durable_upto = 0;
  std::uint64_t trims_upto = 0;
  std::uint32_t header_crc = 0;
  std::uint32_t prev_header_crc = 0;
  std::uint32_t segment = 0;
  std::uint32_t block = 0;
  std::uint16_t data_blocks = 0;
  std::uint16_t entry_count = 0;
};

struct Chain {
  std::vector<FoundBatch> batches;  // in order, each following the one before
  std::vector<FoundBatch>
      beyond;  // valid headers behind the break: in flight when the writer stopped, void from now on
  std::uint64_t acknowledged_upto = 0;  // some batch proves that everything up to here was acknowledged
  std::uint64_t highest_seen = 0;       // of all headers, void ones too
};

// Orders `found`, leaves out what a later batch declared void, and ends the chain at the first gap. Segments in `torn`
// lost their first block: they were being used again when the writer stopped, so their old batches may have gaps.
// DataLoss: the gap lies below `acknowledged_upto`, or two batches carry one number.
absl::StatusOr<Chain> BuildChain(std::vector<FoundBatch> found, const std::set<std::uint32_t>& torn);

// The batch at `index` turned out to be damaged: the chain ends before it. DataLoss if it was acknowledged.
absl::Status CutChain(Chain* chain, std::size_t index);

}  // namespace ashlar::snode
