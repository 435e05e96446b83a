#include "daemons/snode/replica_log/segment_scan.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/base/mapping.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"
#include "daemons/snode/replica_log/header_window.h"

namespace ashlar::snode {
namespace {

constexpr std::uint32_t kChunkBlocks = 256;  // 1 MiB a read
// Behind the last batch that verifies, whatever a crash left lies within the batches in flight, and one batch more
// would prove by its durable_upto that they were acknowledged. So without a header in so many blocks there is none to
// find.
constexpr std::uint32_t kSearchBlocks = 5 * (1 + disk::kMaxEntries);

FoundBatch Found(const disk::BatchHeader& header) {
  return {.batch_seq = header.batch_seq,
          .resumes = header.resumes,
          .durable_upto = header.durable_upto,
          .trims_upto = header.trims_upto,
          .header_crc = header.header_crc,
          .prev_header_crc = header.prev_header_crc,
          .segment = header.segment,
          .block = header.block,
          .data_blocks = header.data_blocks,
          .entry_count = header.entry_count,
          .first_seq = header.batch_seq,
          .end_block = header.block + 1 + header.data_blocks,
          .sealed = false};
}

class Scanner {
 public:
  Scanner(LogDevice& device, const disk::StoreUuid& uuid, std::uint32_t segment, std::uint32_t blocks, Mapping buffer,
          HeaderWindow headers)
      : device_(device),
        uuid_(uuid),
        segment_(segment),
        blocks_(blocks),
        buffer_(std::move(buffer)),
        headers_(std::move(headers)) {}

  absl::StatusOr<SegmentScan> Run() {
    std::uint32_t next = 0;
    ASHLAR_ASSIGN_OR_RETURN(const std::optional<disk::SealBlock> seal, ReadSeal());
    ASHLAR_ASSIGN_OR_RETURN(bool first, TakeFirst(&next));
    if (seal) {
      ASHLAR_ASSIGN_OR_RETURN(const bool believed, Believe(*seal, first));
      if (believed) return std::move(scan_);
      scan_ = {.acknowledged_upto = scan_.acknowledged_upto};
      generations_.clear();
      ASHLAR_ASSIGN_OR_RETURN(first, TakeFirst(&next));
    }
    while (first && next < blocks_) {
      const absl::StatusOr<disk::ConstBlock> block = headers_.Read({segment_, next});
      if (!block.ok()) break;  // a bad sector, here or a few blocks on: the search goes block by block
      const std::uint32_t at = next;
      ASHLAR_RETURN_IF_ERROR(TakeIfHeader(*block, at, &next));
      if (next == at) break;
    }
    ASHLAR_RETURN_IF_ERROR(SearchRest(next, first || !seen_bytes_ ? kSearchBlocks : blocks_));
    scan_.first_block_bad = !first && seen_bytes_;
    std::erase_if(scan_.batches, [&](const FoundBatch& b) { return generations_[b.block] != scan_.generation; });
    return std::move(scan_);
  }

 private:
  std::string Where(std::uint32_t block) const {
    return absl::StrCat("replica_log: segment ", segment_, " block ", block);
  }

  absl::StatusOr<std::optional<disk::SealBlock>> ReadSeal() {
    const disk::Block block(buffer_.bytes().first<disk::kBlockBytes>());
    if (const absl::Status read = device_.Read({segment_, blocks_ - 1}, block); !read.ok()) {
      log::Warn("replica_log: the last block cannot be read segment={} status={}: the segment is scanned", segment_, read);
      return std::nullopt;
    }
    std::string reason;
    std::optional<disk::SealBlock> seal = disk::DecodeSeal(block, blocks_, &reason);
    if (!seal) {
      if (!reason.empty()) return absl::DataLossError(absl::StrCat(Where(blocks_ - 1), ": ", reason, "; was this log written by a newer release?"));
      return std::nullopt;
    }
    const disk::BatchHeader& header = seal->header;
    if (header.store_uuid != uuid_) return absl::DataLossError(Where(blocks_ - 1) + " belongs to another store");
    if (header.segment != segment_ || header.block != blocks_ - 1)
      return absl::DataLossError(
          absl::StrCat(Where(blocks_ - 1), " holds block ", header.block, " of segment ", header.segment));
    return seal;
  }

  // Fills scan_ from the footer. False: the segment has been used again, or the footer is damaged; then headers decide.
  absl::StatusOr<bool> Believe(const disk::SealBlock& seal, bool first_good) {
    if (first_good && scan_.generation > seal.header.generation) return false;  // used again: acknowledged long ago, and dead
    if (!first_good || scan_.generation < seal.header.generation) {
      ASHLAR_RETURN_IF_ERROR(SearchRest(1, blocks_));  // a torn first batch of a new life hides good ones
      if (scan_.generation > seal.header.generation) return false;
      log::Warn("replica_log: the first block is not that of the footer segment={}: the footer is believed", segment_);
    }
    scan_.acknowledged_upto = seal.header.durable_upto;
    Mapping footer;
    const std::size_t bytes = (disk::FooterBlocks(seal.seal.entry_count) - 1) * disk::kBlockBytes;
    if (bytes > 0) {
      ASHLAR_ASSIGN_OR_RETURN(footer, Mapping::Anonymous(bytes));
    }
    const std::span<std::byte> out = footer.bytes().first(bytes);
    const absl::Status read = out.empty() ? absl::OkStatus() : device_.Read({segment_, seal.seal.first_footer_block}, out);
    std::optional<std::vector<disk::Entry>> entries;
    if (read.ok()) entries = disk::DecodeFooter(seal, out);
    if (!entries) {
      log::Warn("replica_log: footer is damaged segment={} status={}: the segment is scanned", segment_, read);
      return false;
    }
    scan_.sealed = true;
    scan_.first_block_bad = false;
    scan_.generation = seal.header.generation;
    scan_.entries = *std::move(entries);
    scan_.batches = {{.batch_seq = seal.seal.last_batch_seq,
                      .resumes = seal.header.resumes,
                      .durable_upto = seal.header.durable_upto,
                      .trims_upto = 0,
                      .header_crc = seal.header.prev_header_crc,
                      .prev_header_crc = 0,
                      .segment = segment_,
                      .block = 0,
                      .data_blocks = 0,
                      .entry_count = 0,
                      .first_seq = seal.seal.first_batch_seq,
                      .end_block = seal.seal.end_block,
                      .sealed = true}};
    return true;
  }

  // Block 0 holds a header of ours, or nothing that can be believed; a good header of another place is no accident.
  absl::StatusOr<bool> TakeFirst(std::uint32_t* next) {
    const absl::StatusOr<disk::ConstBlock> read = headers_.Read({segment_, 0});
    if (!read.ok()) {  // a bad sector: as good as a bad header
      log::Warn("replica_log: the first block cannot be read segment={} status={}", segment_, read.status());
      seen_bytes_ = true;
      return false;
    }
    const disk::ConstBlock block = *read;
    const disk::DecodedHeader decoded = disk::DecodeHeader(block);
    if (decoded.fault != disk::HeaderFault::kUnreadable) {
      if (decoded.header.store_uuid != uuid_) return absl::DataLossError(Where(0) + " belongs to another store");
      if (decoded.header.segment != segment_ || decoded.header.block != 0)
        return absl::DataLossError(
            absl::StrCat(Where(0), " holds block ", decoded.header.block, " of segment ", decoded.header.segment));
    }
    ASHLAR_RETURN_IF_ERROR(TakeIfHeader(block, 0, next));
    return *next != 0;
  }

  // Records the header standing at `at`, if it is one of this segment, and moves `next` behind its batch.
  absl::Status TakeIfHeader(disk::ConstBlock block, std::uint32_t at, std::uint32_t* next) {
    seen_bytes_ = seen_bytes_ || std::any_of(block.begin(), block.end(), [](std::byte b) { return b != std::byte{0}; });
    const disk::DecodedHeader decoded = disk::DecodeHeader(block);
    const disk::BatchHeader& header = decoded.header;
    if (decoded.fault == disk::HeaderFault::kUnreadable || header.store_uuid != uuid_ || header.segment != segment_ ||
        header.block != at)
      return absl::OkStatus();
    if (decoded.fault == disk::HeaderFault::kNotUnderstood)
      return absl::DataLossError(
          absl::StrCat(Where(at), ": ", decoded.reason, "; was this log written by a newer release?"));
    if (header.kind == disk::BatchKind::kFooter || header.kind == disk::BatchKind::kSeal) return absl::OkStatus();
    if (at + 1 + header.data_blocks > blocks_)
      return absl::DataLossError(Where(at) + ": batch reaches beyond the segment");
    if (header.generation < scan_.generation) return absl::OkStatus();  // of an earlier life
    scan_.generation = header.generation;
    generations_[at] = header.generation;
    scan_.batches.push_back(Found(header));
    *next = at + 1 + header.data_blocks;
    return absl::OkStatus();
  }

  // Looks at each block from `from` on, until `window` blocks in a row held no header of this segment's generation.
  absl::Status SearchRest(std::uint32_t from, std::uint32_t window) {
    std::uint32_t end = std::min(blocks_, from + window);
    for (std::uint32_t at = from; at < end;) {
      const std::uint32_t count = std::min(kChunkBlocks, end - at);
      std::span<std::byte> chunk = buffer_.bytes().first(count * disk::kBlockBytes);
      std::uint32_t next = 0;
      const bool whole = device_.Read({segment_, at}, chunk).ok();
      for (std::uint32_t b = 0; b < count; ++b) {
        if (!whole && !device_.Read({segment_, at + b}, chunk.subspan(b * disk::kBlockBytes, disk::kBlockBytes)).ok()) continue;
        disk::ConstBlock block(chunk.subspan(b * disk::kBlockBytes).first<disk::kBlockBytes>());
        ASHLAR_RETURN_IF_ERROR(TakeIfHeader(block, at + b, &next));
      }
      at += count;
      end = std::max(end, std::min(blocks_, next + window));
    }
    return absl::OkStatus();
  }

  LogDevice& device_;
  const disk::StoreUuid& uuid_;
  const std::uint32_t segment_;
  const std::uint32_t blocks_;
  Mapping buffer_;
  HeaderWindow headers_;
  SegmentScan scan_;
  absl::flat_hash_map<std::uint32_t, std::uint64_t> generations_;  // by block of the header
  bool seen_bytes_ = false;
};

}  // namespace

absl::StatusOr<SegmentScan> ScanSegment(LogDevice& device, const disk::StoreUuid& store_uuid, std::uint32_t segment,
                                        std::uint32_t blocks) {
  ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(kChunkBlocks * disk::kBlockBytes));
  ASHLAR_ASSIGN_OR_RETURN(HeaderWindow headers, HeaderWindow::Make(device, blocks));
  return Scanner(device, store_uuid, segment, blocks, std::move(buffer), std::move(headers)).Run();
}

absl::StatusOr<bool> BatchVerifies(LogDevice& device, const disk::StoreUuid& store_uuid, const FoundBatch& batch) {
  const std::size_t bytes = (1 + std::size_t{batch.data_blocks}) * disk::kBlockBytes;
  ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(bytes));
  std::span<std::byte> all = buffer.bytes().first(bytes);
  ASHLAR_RETURN_IF_ERROR(device.Read({batch.segment, batch.block}, all));
  const disk::DecodedHeader decoded = disk::DecodeHeader(disk::ConstBlock(all.first<disk::kBlockBytes>()));
  if (decoded.fault != disk::HeaderFault::kNone || decoded.header.store_uuid != store_uuid ||
      decoded.header.batch_seq != batch.batch_seq || decoded.header.data_blocks != batch.data_blocks)
    return false;
  return !disk::FindBadEntry(decoded, all.subspan(disk::kBlockBytes)).has_value();
}

}  // namespace ashlar::snode
