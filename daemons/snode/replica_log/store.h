// Makes a store on an empty device, or opens the one that is there: superblock copies, number of segments.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "daemons/snode/replica_log/log_device.h"
#include "daemons/snode/replica_log/superblock.h"

namespace ashlar::snode {

constexpr std::uint64_t kDefaultSegmentBytes = 64 << 20;
constexpr std::uint32_t kMinSegments = 6;  // two are the cleaner's, one is open

struct StoreOptions {
  std::uint64_t capacity_bytes = 0;  // rounded down to whole segments; may grow from start to start, never shrink
  std::uint64_t segment_bytes = kDefaultSegmentBytes;
  std::string cluster;
  NodeId node;
};

// On return every segment counted by the superblock, less the retired ones, is attached. Missing segments are made,
// written through with zeros, and only then counted. DataLoss: the store is damaged or not understood.
// FailedPrecondition: it is another node's, or larger than `capacity_bytes`. InvalidArgument: options out of bounds.
absl::StatusOr<Superblock> OpenStore(LogDevice& device, const StoreOptions& options);

// The newest good superblock of the store that is there; changes nothing. DataLoss: none is good, or it is not understood.
absl::StatusOr<Superblock> ReadStore(LogDevice& device);

// Writes `superblock` with the next sequence, durable on return.
absl::Status UpdateSuperblock(LogDevice& device, Superblock* superblock);

}  // namespace ashlar::snode
