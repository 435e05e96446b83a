#include "common/config/space_ids.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/config/stored_counter.h"

namespace ashlar::config {
namespace {

constexpr const char* kFileName = "space_ids";
constexpr std::uint64_t kPerSecond = 64;
constexpr std::uint64_t kMaxFromClock = SpaceIds::kCounterEnd / 2;  // the year 2242: a clock beyond it is wrong

}  // namespace

absl::StatusOr<SpaceIds> SpaceIds::Open(StateDirectory& directory, NodeId pnode, std::uint64_t wall_clock_ns) {
  ASHLAR_ASSIGN_OR_RETURN(const std::optional<std::uint64_t> stored,
                          ReadCounter(directory, kFileName, CounterKind::kSpaceIds, pnode));
  const std::uint64_t from_clock = std::min(wall_clock_ns / 1'000'000'000 * kPerSecond, kMaxFromClock);
  return SpaceIds(directory, pnode, std::max({stored.value_or(0), from_clock, std::uint64_t{1}}));
}

absl::StatusOr<SpaceId> SpaceIds::Take() {
  if (next_ >= kCounterEnd) {
    return absl::ResourceExhaustedError(
        absl::StrCat("this pnode has used all its space ids (", directory_->path(), "/", kFileName,
                     "); give it a new id in the topology"));
  }
  if (next_ == reserved_end_) {
    const std::uint64_t end = std::min(next_ + kBlock, kCounterEnd);
    ASHLAR_RETURN_IF_ERROR(directory_->SyncFile(kFileName, EncodeCounter(CounterKind::kSpaceIds, pnode_, end)));
    reserved_end_ = end;
  }
  return SpaceId(SpacePrefixOf(pnode_) << 40 | next_++);
}

}  // namespace ashlar::config
