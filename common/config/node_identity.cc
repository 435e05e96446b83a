#include "common/config/node_identity.h"

#include <algorithm>
#include <ctime>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/config/stored_counter.h"

namespace ashlar::config {
namespace {

constexpr const char* kFileName = "incarnation";

}  // namespace

absl::StatusOr<NodeIdentity> SyncNextIncarnation(StateDirectory& directory, NodeId node_id,
                                                 std::uint64_t wall_clock_ns) {
  ASHLAR_ASSIGN_OR_RETURN(const std::optional<std::uint64_t> stored,
                          ReadCounter(directory, kFileName, CounterKind::kIncarnation, node_id));
  if (stored == std::numeric_limits<std::uint64_t>::max()) {
    return absl::DataLossError(absl::StrCat(directory.path(), "/", kFileName, " holds the highest number there is"));
  }
  const std::uint64_t incarnation = std::max(stored.value_or(0) + 1, wall_clock_ns);
  ASHLAR_RETURN_IF_ERROR(
      directory.SyncFile(kFileName, EncodeCounter(CounterKind::kIncarnation, node_id, incarnation)));
  return NodeIdentity{node_id, Incarnation(incarnation)};
}

std::uint64_t WallClockNs() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  if (now.tv_sec < 0) return 0;
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
}

}  // namespace ashlar::config
