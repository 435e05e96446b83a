#include "daemons/snode/replica_log/chain.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace ashlar::snode {
namespace {

absl::Status AcknowledgedMissing(std::uint64_t after, std::uint64_t upto) {
  return absl::DataLossError(absl::StrCat("replica_log: the log breaks after batch ", after, ", yet batches up to ",
                                          upto,
                                          " were acknowledged: the disk lost or damaged them; nothing was changed"));
}

// Leaves out every batch whose number a later one declared void (resumes < seq < its own).
std::vector<FoundBatch> WithoutVoid(const std::vector<FoundBatch>& sorted) {
  std::vector<FoundBatch> kept;
  std::uint64_t void_above = ~std::uint64_t{0};  // walking down: numbers above this are void
  for (auto it = sorted.rbegin(); it != sorted.rend(); ++it) {
    if (it->batch_seq <= void_above) kept.push_back(*it);
    void_above = std::min(void_above, it->resumes);
  }
  std::reverse(kept.begin(), kept.end());
  return kept;
}

bool Follows(const FoundBatch& next, const FoundBatch& previous) {
  return next.resumes == previous.batch_seq && next.prev_header_crc == previous.header_crc;
}

}  // namespace

absl::StatusOr<Chain> BuildChain(std::vector<FoundBatch> found, const std::set<std::uint32_t>& torn) {
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.batch_seq < b.batch_seq; });
  Chain chain;
  for (std::size_t i = 0; i < found.size(); ++i) {
    chain.acknowledged_upto = std::max(chain.acknowledged_upto, found[i].durable_upto);
    chain.highest_seen = std::max(chain.highest_seen, found[i].batch_seq);
    if (i > 0 && found[i].batch_seq == found[i - 1].batch_seq)
      return absl::DataLossError(absl::StrCat("replica_log: batch ", found[i].batch_seq, " stands in segment ",
                                              found[i - 1].segment, " and in segment ", found[i].segment,
                                              ": this directory was mixed from two copies"));
  }
  for (const FoundBatch& batch : WithoutVoid(found)) {
    const bool gap = !chain.batches.empty() && !Follows(batch, chain.batches.back());
    if (!chain.beyond.empty() || (gap && !torn.contains(chain.batches.back().segment)))
      chain.beyond.push_back(batch);
    else
      chain.batches.push_back(batch);
  }
  if (!chain.batches.empty() && chain.acknowledged_upto > chain.batches.back().batch_seq)
    return AcknowledgedMissing(chain.batches.back().batch_seq, chain.acknowledged_upto);
  return chain;
}

absl::Status CutChain(Chain* chain, std::size_t index) {
  const std::uint64_t bad = chain->batches.at(index).batch_seq;
  if (bad <= chain->acknowledged_upto)
    return AcknowledgedMissing(index == 0 ? 0 : chain->batches[index - 1].batch_seq, chain->acknowledged_upto);
  chain->beyond.insert(chain->beyond.begin(), chain->batches.begin() + static_cast<std::ptrdiff_t>(index),
                       chain->batches.end());
  chain->batches.resize(index);
  return absl::OkStatus();
}

}  // namespace ashlar::snode
