// A number that only grows and outlives its node, in a file of 32 bytes in the state directory. Internal to
// common/config. All fields are little-endian:
//
//   0  u32 magic 0x41534843 ("CHSA" in a dump)    8  u64 node_id: whose it is     24  u32 reserved, 0
//   4  u16 version 1                              16  u64 value                   28  u32 CRC32C of bytes 0–27
//   6  u16 kind (CounterKind)
//
// It is replaced whole (StateDirectory::SyncFile), so damage is never a torn write of ours: it is refused, not repaired.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/config/state_directory.h"

namespace ashlar::config {

enum class CounterKind : std::uint16_t { kIncarnation = 1, kSpaceIds = 2 };

constexpr std::size_t kStoredCounterBytes = 32;

std::string EncodeCounter(CounterKind kind, NodeId node_id, std::uint64_t value);
// DataLoss: damaged. FailedPrecondition: written by a newer version, or for another node or use (exit 78).
absl::StatusOr<std::uint64_t> DecodeCounter(std::string_view bytes, CounterKind kind, NodeId node_id);

// nullopt: never stored. Errors name the file.
absl::StatusOr<std::optional<std::uint64_t>> ReadCounter(const StateDirectory& directory, const std::string& name,
                                                         CounterKind kind, NodeId node_id);

}  // namespace ashlar::config
