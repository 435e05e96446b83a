#include "daemons/snode/replica_log/chain.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace ashlar::snode {
namespace {

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
  return next.resumes == previous.batch_seq && (next.sealed || next.prev_header_crc == previous.header_crc);
}

}  // namespace

absl::StatusOr<Chain> BuildChain(std::vector<FoundBatch> found, const std::set<std::uint32_t>& torn,
                                 std::uint64_t acknowledged_upto) {
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.batch_seq < b.batch_seq; });
  Chain chain;
  chain.acknowledged_upto = acknowledged_upto;
  for (std::size_t i = 0; i < found.size(); ++i) {
    chain.acknowledged_upto = std::max(chain.acknowledged_upto, found[i].durable_upto);
    chain.highest_seen = std::max(chain.highest_seen, found[i].batch_seq);
    if (i > 0 && found[i].batch_seq == found[i - 1].batch_seq)
      return absl::DataLossError(absl::StrCat("replica_log: batch ", found[i].batch_seq, " stands in segment ",
                                              found[i - 1].segment, " and in segment ", found[i].segment,
                                              ": this directory was mixed from two copies"));
  }
  for (const FoundBatch& batch : WithoutVoid(found)) {
    const bool gap = !chain.batches.empty() && !Follows(batch, chain.batches.back()) &&
                     !torn.contains(chain.batches.back().segment);
    if (!chain.beyond.empty() || (gap && batch.resumes > chain.acknowledged_upto)) {
      chain.beyond.push_back(batch);
      continue;
    }
    if (gap) chain.gaps.push_back({.after = chain.batches.back(), .before = batch});
    chain.batches.push_back(batch);
  }
  if (!chain.batches.empty() && chain.acknowledged_upto > chain.batches.back().batch_seq)
    chain.gaps.push_back({.after = chain.batches.back(), .before = std::nullopt});
  return chain;
}

void CutChain(Chain* chain, std::size_t index) {
  chain->beyond.insert(chain->beyond.begin(), chain->batches.begin() + static_cast<std::ptrdiff_t>(index),
                       chain->batches.end());
  chain->batches.resize(index);
}

}  // namespace ashlar::snode
