#include "daemons/snode/replica_log/superblock.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace ashlar::snode {
namespace {

constexpr std::array<char, 8> kMagic = {'A', 'S', 'H', 'L', 'R', 'S', 'U', 'P'};

struct WireSuperblock {                                    // offset
  std::array<char, 8> magic;                               //    0
  std::uint16_t format;                                    //    8
  std::uint16_t cluster_bytes;                             //   10
  std::uint32_t crc;                                       //   12  over the 4096 bytes, this field 0
  disk::StoreUuid store_uuid;                              //   16
  std::uint64_t sequence;                                  //   32
  std::uint64_t segment_bytes;                             //   40
  std::uint32_t segment_count;                             //   48
  std::uint32_t retired_count;                             //   52
  std::uint64_t node;                                      //   56
  std::array<char, kMaxClusterName> cluster;               //   64
  std::array<std::uint32_t, kMaxRetiredSegments> retired;  // 128; zero to 4096
};
static_assert(sizeof(WireSuperblock) == 128 + 4 * kMaxRetiredSegments && offsetof(WireSuperblock, cluster) == 64);

std::uint32_t SuperblockCrc(disk::ConstBlock block) {
  constexpr std::array<std::byte, 4> kZeroCrc{};
  constexpr std::size_t kAt = offsetof(WireSuperblock, crc);
  return Crc32c(block.subspan<kAt + 4>(), Crc32c(kZeroCrc, Crc32c(block.first<kAt>())));
}

}  // namespace

void EncodeSuperblock(const Superblock& superblock, disk::Block out) {
  ASHLAR_CHECK(superblock.cluster.size() <= kMaxClusterName, "cluster={}", superblock.cluster);
  ASHLAR_CHECK(superblock.retired.size() <= kMaxRetiredSegments, "retired={}", superblock.retired.size());
  WireSuperblock wire{.magic = kMagic,
                      .format = disk::kFormat,
                      .cluster_bytes = static_cast<std::uint16_t>(superblock.cluster.size()),
                      .crc = 0,
                      .store_uuid = superblock.store_uuid,
                      .sequence = superblock.sequence,
                      .segment_bytes = superblock.segment_bytes,
                      .segment_count = superblock.segment_count,
                      .retired_count = static_cast<std::uint32_t>(superblock.retired.size()),
                      .node = superblock.node.value(),
                      .cluster = {},
                      .retired = {}};
  std::copy(superblock.cluster.begin(), superblock.cluster.end(), wire.cluster.begin());
  std::copy(superblock.retired.begin(), superblock.retired.end(), wire.retired.begin());
  std::fill(out.begin(), out.end(), std::byte{0});
  std::memcpy(out.data(), &wire, sizeof(wire));
  wire.crc = SuperblockCrc(out);
  std::memcpy(out.data() + offsetof(WireSuperblock, crc), &wire.crc, sizeof(wire.crc));
}

DecodedSuperblock DecodeSuperblock(disk::ConstBlock block) {
  DecodedSuperblock decoded;
  WireSuperblock wire;
  std::memcpy(&wire, block.data(), sizeof(wire));
  if (wire.magic != kMagic || wire.crc != SuperblockCrc(block)) return decoded;
  if (wire.format != disk::kFormat || wire.cluster_bytes > kMaxClusterName ||
      wire.retired_count > kMaxRetiredSegments || wire.segment_bytes % disk::kBlockBytes != 0) {
    decoded.fault = SuperblockFault::kNotUnderstood;
    return decoded;
  }
  decoded.fault = SuperblockFault::kNone;
  decoded.superblock = {.store_uuid = wire.store_uuid,
                        .sequence = wire.sequence,
                        .segment_bytes = wire.segment_bytes,
                        .segment_count = wire.segment_count,
                        .cluster = std::string(wire.cluster.data(), wire.cluster_bytes),
                        .node = NodeId(wire.node),
                        .retired = {wire.retired.begin(), wire.retired.begin() + wire.retired_count}};
  return decoded;
}

}  // namespace ashlar::snode
