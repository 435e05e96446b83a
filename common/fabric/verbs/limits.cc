#include "common/fabric/verbs/limits.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/fabric/endpoint.h"
#include "common/fabric/ledger.h"

namespace ashlar::fabric::verbs {
namespace {

constexpr std::uint32_t kMaxMessageBytes = 1u << 20;  // of the contract; devices take far more
constexpr std::uint32_t kMaxReads = 16;

}  // namespace

absl::StatusOr<Caps> ConcludeCaps(const DeviceFacts& facts) {
  if (!facts.window_works) {
    return absl::UnimplementedError(absl::StrCat("fabric: RDMA device ", facts.name, " has no working memory windows of type 2B, "
                                                 "so memory could not be lent to one peer alone; use kind: tcp"));
  }
  if (!facts.immediate_works && facts.max_inline < kMinReceiveBytes) {
    return absl::UnimplementedError(absl::StrCat("fabric: RDMA device ", facts.name, " has neither WRITE_WITH_IMM nor ",
                                                 kMinReceiveBytes, " bytes inline to stand in for it; use kind: tcp"));
  }
  const std::uint32_t slices = std::min({facts.max_sge, facts.max_sge_read, static_cast<std::uint32_t>(kMaxSlices)});
  if (slices == 0 || facts.max_reads == 0 || facts.max_message == 0) {
    return absl::UnimplementedError(absl::StrCat("fabric: RDMA device ", facts.name, " offers ", slices, " slices, ", facts.max_reads,
                                                 " READs in flight, messages of ", facts.max_message, " bytes; each must be at least 1"));
  }
  return Caps{.max_inline = facts.max_inline,
              .max_slices = slices,
              .max_message = std::min(facts.max_message, kMaxMessageBytes),
              .max_reads = std::min(facts.max_reads, kMaxReads),
              .native_imm = facts.immediate_works,
              .revocable = true};
}

}  // namespace ashlar::fabric::verbs
