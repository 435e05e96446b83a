// Which of the batches found on disk are the log: pure rules over their headers. See "Start" in README.md.
#pragma once

#include <cstdint>
#include <optional>
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
  std::uint64_t first_seq = 0;  // of a sealed segment: its first batch; else batch_seq
  std::uint32_t end_block = 0;  // one past its last block
  bool sealed = false;          // stands for all batches of a segment, first_seq … batch_seq; its links are not checked
};

// Acknowledged batches that are not there: something between `after` and `before` was lost or damaged.
struct ChainGap {
  FoundBatch after;                  // batch_seq 0: at the very beginning
  std::optional<FoundBatch> before;  // nullopt: at the end
};

struct Chain {
  std::vector<FoundBatch> batches;  // in order, each following the one before
  std::vector<FoundBatch>
      beyond;  // valid headers behind the break: in flight when the writer stopped, void from now on
  std::vector<ChainGap> gaps;           // damage: none of this is a crash's doing
  std::uint64_t acknowledged_upto = 0;  // some batch proves that everything up to here was acknowledged
  std::uint64_t highest_seen = 0;       // of all headers, void ones too
};

// Orders `found`, leaves out what a later batch declared void, and ends the chain at the first gap that a crash can have
// left: one above everything that is proven acknowledged, by a durable_upto or by `acknowledged_upto`. A gap below that
// is damage; it is noted, and the chain goes on behind it. Segments in `torn` lost their first block: they were being
// used again when the writer stopped, so their old batches may have gaps.
// DataLoss: two batches carry one number.
absl::StatusOr<Chain> BuildChain(std::vector<FoundBatch> found, const std::set<std::uint32_t>& torn,
                                 std::uint64_t acknowledged_upto = 0);

// The batch at `index`, above acknowledged_upto, turned out to be damaged: the chain ends before it.
void CutChain(Chain* chain, std::size_t index);

}  // namespace ashlar::snode
