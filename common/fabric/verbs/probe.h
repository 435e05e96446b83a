// Finds out by trying what a device port can do: there is no question to ask about WRITE_WITH_IMM, and a device that
// claims windows may still refuse one. Two queue pairs of our own, connected to each other, and one write between them.
#pragma once

#include "absl/status/statusor.h"
#include "common/fabric/verbs/limits.h"
#include "common/fabric/verbs/objects.h"

namespace ashlar::fabric::verbs {

struct ProbeTarget {
  ibv_context* context = nullptr;
  std::uint8_t port = 1;
  int gid_index = 0;  // InfiniBand routes by LID and does not look at it
};
// An error: the port can't carry a message at all (not active, no queue pair to be had).
absl::StatusOr<DeviceFacts> ProbeDevice(const ProbeTarget& target);

}  // namespace ashlar::fabric::verbs
