#include "daemons/snode/replica_log/offline.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/mapping.h"
#include "common/base/status.h"
#include "daemons/snode/replica_log/page_index.h"
#include "daemons/snode/replica_log/recovery.h"
#include "daemons/snode/replica_log/segment_table.h"
#include "daemons/snode/replica_log/store.h"

namespace ashlar::snode {
namespace {

std::uint32_t BlocksOf(const Superblock& superblock) { return static_cast<std::uint32_t>(superblock.segment_bytes / disk::kBlockBytes); }

bool IsRetired(const Superblock& superblock, std::uint32_t segment) {
  return std::find(superblock.retired.begin(), superblock.retired.end(), segment) != superblock.retired.end();
}

// All segments, each that is missing named.
absl::Status AttachAll(LogDevice& device, const Superblock& superblock) {
  std::string faults;
  for (std::uint32_t s = 0; s < superblock.segment_count; ++s) {
    if (IsRetired(superblock, s)) continue;
    if (const absl::Status status = device.AttachSegment(s, BlocksOf(superblock)); !status.ok())
      absl::StrAppend(&faults, faults.empty() ? "" : "; ", status.message());
  }
  return faults.empty() ? absl::OkStatus() : absl::DataLossError(faults);
}

void NoteBad(const disk::DecodedHeader& batch, std::span<const std::byte> data, std::vector<BadEntry>* bad) {
  for (const disk::Entry& entry : batch.entries) {
    std::span<const std::byte> bytes;
    if (disk::HasData(entry.kind) && !data.empty())
      bytes = data.subspan((entry.block - batch.header.block - 1) * disk::kBlockBytes, disk::kBlockBytes);
    const std::uint32_t got = disk::EntryCrc(entry, bytes);
    if (got != entry.crc) bad->push_back({.segment = batch.header.segment, .block = entry.block, .entry = entry, .got_crc = got});
  }
}

}  // namespace

bool StoreReport::loss() const {
  return !damage.empty() || lost_pages > 0 || std::any_of(bad.begin(), bad.end(), [](const BadEntry& entry) { return entry.live; });
}

absl::Status VisitBatches(LogDevice& device, const Superblock& superblock, std::uint32_t segment, const BatchVisitor& visit) {
  constexpr std::size_t kMostBytes = (1 + disk::kMaxEntries) * disk::kBlockBytes;
  ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(kMostBytes));
  const disk::Block header(buffer.bytes().first<disk::kBlockBytes>());
  std::uint64_t generation = 0;
  for (std::uint32_t at = 0; at < BlocksOf(superblock);) {
    if (!device.Read({segment, at}, header).ok()) break;
    const disk::DecodedHeader batch = disk::DecodeHeader(header);
    const bool ours = batch.fault == disk::HeaderFault::kNone && batch.header.store_uuid == superblock.store_uuid &&
                      batch.header.segment == segment && batch.header.block == at &&
                      (generation == 0 || batch.header.generation == generation) && batch.header.kind <= disk::BatchKind::kMark;
    if (!ours || at + 1 + batch.header.data_blocks > BlocksOf(superblock)) break;
    generation = batch.header.generation;
    std::span<std::byte> data = buffer.bytes().first(batch.header.data_blocks * disk::kBlockBytes);
    bool whole = true;
    for (std::uint32_t b = 0; b < batch.header.data_blocks && whole; ++b)
      whole = device.Read({segment, at + 1 + b}, data.subspan(b * disk::kBlockBytes, disk::kBlockBytes)).ok();
    visit(batch, whole ? data : std::span<std::byte>());
    at += 1U + batch.header.data_blocks;
  }
  return absl::OkStatus();
}

absl::StatusOr<StoreReport> VerifyStore(LogDevice& device) {
  StoreReport report;
  ASHLAR_ASSIGN_OR_RETURN(report.superblock, ReadStore(device));
  ASHLAR_RETURN_IF_ERROR(AttachAll(device, report.superblock));
  SegmentTable segments(report.superblock.segment_count, BlocksOf(report.superblock));
  PageIndex index(segments);
  ASHLAR_ASSIGN_OR_RETURN(const Recovered found, Recover(device, report.superblock, segments, index));
  report.damage = found.damage;
  report.sealed = found.sealed_segments;
  report.unsealed = found.scanned_segments;
  report.free = segments.count() - report.sealed - report.unsealed - static_cast<std::uint32_t>(report.superblock.retired.size());
  report.live_pages = index.page_count();
  report.lost_pages = index.bad_page_count();
  report.spaces = index.space_count();
  for (std::uint32_t s = 0; s < segments.count(); ++s) {
    if (IsRetired(report.superblock, s)) continue;
    ASHLAR_RETURN_IF_ERROR(VisitBatches(device, report.superblock, s, [&](const disk::DecodedHeader& batch, std::span<const std::byte> data) {
      ++report.batches;
      report.highest_seq = std::max(report.highest_seq, batch.header.batch_seq);
      for (const disk::Entry& entry : batch.entries) report.pages += entry.kind <= disk::EntryKind::kZero ? 1 : 0;
      NoteBad(batch, data, &report.bad);
    }));
  }
  for (BadEntry& bad : report.bad) {
    bad.live = index.IsLive(bad.entry, bad.segment);
    if (const PageSlot* held = index.FindPage(SpaceId(bad.entry.space), PageNumber(bad.entry.page))) bad.held_version = held->version.value();
  }
  return report;
}

}  // namespace ashlar::snode
