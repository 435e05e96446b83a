#include "daemons/snode/replica_log/store.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/mapping.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"

namespace ashlar::snode {
namespace {

constexpr std::uint64_t kMinSegmentBytes = 128 * disk::kBlockBytes;    // room for a full batch, footer and seal
constexpr std::uint64_t kMaxSegmentBytes = 65536 * disk::kBlockBytes;  // block numbers are 16 bit

absl::Status CheckOptions(const StoreOptions& options) {
  if (options.segment_bytes < kMinSegmentBytes || options.segment_bytes > kMaxSegmentBytes ||
      options.segment_bytes % disk::kBlockBytes != 0)
    return absl::InvalidArgumentError(absl::StrCat("replica_log: segment_bytes ", options.segment_bytes,
                                                   " is not a multiple of 4096 in 512KiB..256MiB"));
  const std::uint64_t segments = options.capacity_bytes / options.segment_bytes;
  if (segments < kMinSegments)
    return absl::InvalidArgumentError(absl::StrCat("replica_log: capacity_bytes ", options.capacity_bytes,
                                                   " is less than ", kMinSegments, " segments of ",
                                                   options.segment_bytes, " bytes"));
  if (segments > 0xFFFF'FFFF) return absl::InvalidArgumentError("replica_log: capacity_bytes is too large");
  if (options.cluster.empty() || options.cluster.size() > kMaxClusterName)
    return absl::InvalidArgumentError(
        absl::StrCat("replica_log: cluster name must have 1..", kMaxClusterName, " bytes"));
  return absl::OkStatus();
}

absl::StatusOr<Superblock> NewSuperblock(const StoreOptions& options) {
  Superblock fresh{.segment_bytes = options.segment_bytes, .cluster = options.cluster, .node = options.node};
  if (::getrandom(fresh.store_uuid.data(), fresh.store_uuid.size(), 0) != static_cast<ssize_t>(fresh.store_uuid.size()))
    return ErrnoStatus(errno, "replica_log: getrandom for the store uuid");
  return fresh;
}

absl::StatusOr<Superblock> ReadSuperblock(LogDevice& device, disk::Block block) {
  Superblock best;
  std::uint32_t good = 0;
  for (std::uint32_t copy = 0; copy < kSuperblockCopies; ++copy) {
    ASHLAR_RETURN_IF_ERROR(device.ReadSuperblock(copy, block));
    DecodedSuperblock decoded = DecodeSuperblock(block);
    if (decoded.fault == SuperblockFault::kNotUnderstood)
      return absl::DataLossError(absl::StrCat("replica_log: superblock copy ", copy,
                                              " is not understood; was it written by a newer release?"));
    if (decoded.fault != SuperblockFault::kNone) continue;
    ++good;
    if (decoded.superblock.sequence >= best.sequence) best = std::move(decoded.superblock);
  }
  if (good == 0)
    return absl::DataLossError("replica_log: all superblock copies are bad or missing, but there are segments");
  if (good < std::min<std::uint64_t>(kSuperblockCopies, best.sequence))
    log::Warn("replica_log: superblock copies bad count={} of={}; the newest good one is used",
              std::min<std::uint64_t>(kSuperblockCopies, best.sequence) - good, kSuperblockCopies);
  return best;
}

absl::Status CheckSame(const Superblock& superblock, const StoreOptions& options) {
  if (superblock.cluster != options.cluster || superblock.node != options.node)
    return absl::FailedPreconditionError(absl::StrCat("replica_log: this store belongs to node ",
                                                      superblock.node.value(), " of cluster '", superblock.cluster,
                                                      "'; check log.path"));
  if (superblock.segment_bytes != options.segment_bytes)
    return absl::FailedPreconditionError(
        absl::StrCat("replica_log: segments have ", superblock.segment_bytes, " bytes, not ", options.segment_bytes));
  if (superblock.segment_count > options.capacity_bytes / options.segment_bytes)
    return absl::FailedPreconditionError(
        absl::StrCat("replica_log: capacity_bytes may grow, never shrink; the store has ",
                     superblock.segment_count * superblock.segment_bytes, ", asked for ", options.capacity_bytes));
  return absl::OkStatus();
}

}  // namespace

absl::Status UpdateSuperblock(LogDevice& device, Superblock* superblock) {
  ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(disk::kBlockBytes));
  disk::Block block(buffer.bytes().first<disk::kBlockBytes>());
  ++superblock->sequence;
  EncodeSuperblock(*superblock, block);
  return device.WriteSuperblock(static_cast<std::uint32_t>(superblock->sequence % kSuperblockCopies), block);
}

absl::StatusOr<Superblock> ReadStore(LogDevice& device) {
  ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(disk::kBlockBytes));
  return ReadSuperblock(device, disk::Block(buffer.bytes().first<disk::kBlockBytes>()));
}

absl::StatusOr<Superblock> OpenStore(LogDevice& device, const StoreOptions& options) {
  ASHLAR_RETURN_IF_ERROR(CheckOptions(options));
  Superblock superblock;
  if (device.HasStore()) {
    ASHLAR_ASSIGN_OR_RETURN(superblock, ReadStore(device));
    ASHLAR_RETURN_IF_ERROR(CheckSame(superblock, options));
  } else {
    ASHLAR_ASSIGN_OR_RETURN(superblock, NewSuperblock(options));
    ASHLAR_RETURN_IF_ERROR(UpdateSuperblock(device, &superblock));
  }
  const auto blocks = static_cast<std::uint32_t>(options.segment_bytes / disk::kBlockBytes);
  for (std::uint32_t s = 0; s < superblock.segment_count; ++s)
    if (std::find(superblock.retired.begin(), superblock.retired.end(), s) == superblock.retired.end())
      ASHLAR_RETURN_IF_ERROR(device.AttachSegment(s, blocks));
  const auto wanted = static_cast<std::uint32_t>(options.capacity_bytes / options.segment_bytes);
  if (superblock.segment_count == wanted) return superblock;
  log::Info("replica_log: making segments from={} to={} bytes_each={}", superblock.segment_count, wanted,
            options.segment_bytes);
  for (std::uint32_t s = superblock.segment_count; s < wanted; ++s)
    ASHLAR_RETURN_IF_ERROR(device.CreateSegment(s, blocks));
  superblock.segment_count = wanted;
  ASHLAR_RETURN_IF_ERROR(UpdateSuperblock(device, &superblock));
  return superblock;
}

}  // namespace ashlar::snode
