// The superblock: which store this is, how large, and which segments are out of use. Four copies of 4 KiB in one file;
// an update writes copy `sequence % 4`, the highest valid sequence wins.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "daemons/snode/replica_log/batch_codec.h"

namespace ashlar::snode {

constexpr std::uint32_t kSuperblockCopies = 4;
constexpr std::size_t kMaxClusterName = 64;
constexpr std::size_t kMaxRetiredSegments = 256;

struct Superblock {
  disk::StoreUuid store_uuid{};
  std::uint64_t sequence = 0;
  std::uint64_t segment_bytes = 0;
  std::uint32_t segment_count = 0;
  std::string cluster;  // at most kMaxClusterName bytes
  NodeId node;
  std::vector<std::uint32_t> retired;  // segments that failed a write: never used again; at most kMaxRetiredSegments
  friend bool operator==(const Superblock&, const Superblock&) = default;
};

void EncodeSuperblock(const Superblock& superblock, disk::Block out);

enum class SuperblockFault { kNone, kUnreadable, kNotUnderstood };
struct DecodedSuperblock {
  SuperblockFault fault = SuperblockFault::kUnreadable;
  Superblock superblock;
};
DecodedSuperblock DecodeSuperblock(disk::ConstBlock block);

}  // namespace ashlar::snode
