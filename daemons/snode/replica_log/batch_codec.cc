#include "daemons/snode/replica_log/batch_codec.h"

#include <algorithm>
#include <cstring>

#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace ashlar::snode::disk {
namespace {

constexpr std::size_t kCrcEnd = offsetof(BatchHeader, header_crc) + sizeof(std::uint32_t);

std::uint32_t HeaderCrc(ConstBlock block) {
  constexpr std::array<std::byte, 4> kZeroCrc{};
  std::uint32_t crc = Crc32c(block.first<offsetof(BatchHeader, header_crc)>());
  crc = Crc32c(kZeroCrc, crc);
  return Crc32c(block.subspan<kCrcEnd>(), crc);
}

bool AllZero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

// nullptr: understood. Otherwise what is wrong with an entry whose header has a correct CRC.
const char* EntryFault(const Entry& entry, std::uint32_t expected_block) {
  if (entry.kind < EntryKind::kPage || entry.kind > EntryKind::kDrop) return "unknown entry kind";
  if (entry.flags != 0) return "unknown entry flag";
  if (entry.space == 0) return "entry of space 0";
  if (entry.block != (HasData(entry.kind) ? expected_block : 0)) return "data block out of order";
  if ((entry.count != 0) != (entry.kind == EntryKind::kTrim)) return "count belongs to trims alone";
  if (entry.version > kMaxVersion) return "version beyond 48 bits";
  return nullptr;
}

const char* FieldFault(const BatchHeader& header) {
  if (header.format != kFormat) return "unknown format";
  if (header.kind < BatchKind::kData || header.kind > BatchKind::kSeal) return "unknown batch kind";
  if (header.flags != 0) return "unknown batch flag";
  if (header.generation == 0) return "generation 0";
  if (!std::all_of(header.zero.begin(), header.zero.end(), [](std::uint8_t b) { return b == 0; }))
    return "reserved bytes are set";
  if (header.entry_count > kMaxEntries) return "too many entries";
  if (header.kind == BatchKind::kData || header.kind == BatchKind::kMark) {
    if (header.batch_seq == 0 || header.resumes >= header.batch_seq) return "batch number does not follow";
    if (header.durable_upto >= header.batch_seq) return "durable_upto is not in the past";
    if (header.trims_upto >= header.batch_seq) return "trims_upto is not in the past";
    if ((header.kind == BatchKind::kMark) != (header.entry_count == 0)) return "entry count does not suit the kind";
  }
  return nullptr;
}

// Data and mark batches: the entries, and that everything behind them is zero.
const char* DecodeEntries(ConstBlock block, DecodedHeader* out) {
  const BatchHeader& header = out->header;
  const std::size_t end = sizeof(BatchHeader) + header.entry_count * sizeof(Entry);
  out->entries.resize(header.entry_count);
  if (!out->entries.empty())
    std::memcpy(out->entries.data(), block.data() + sizeof(BatchHeader), end - sizeof(BatchHeader));
  std::uint32_t next_block = header.block + 1;
  for (const Entry& entry : out->entries) {
    if (const char* fault = EntryFault(entry, next_block)) return fault;
    if (HasData(entry.kind)) ++next_block;
  }
  if (next_block - header.block - 1 != header.data_blocks) return "data_blocks does not match the entries";
  if (!AllZero(block.subspan(end))) return "bytes behind the last entry are set";
  return nullptr;
}

}  // namespace

std::uint32_t EntryCrc(const Entry& entry, std::span<const std::byte> data) {
  return PageCrc32c(SpaceId(entry.space), PageNumber(entry.page), Version(entry.version), data);
}

std::uint32_t EncodeHeader(BatchHeader header, std::span<const Entry> entries, Block out) {
  ASHLAR_CHECK(entries.size() == header.entry_count && entries.size() <= kMaxEntries, "entries={}", entries.size());
  header.header_crc = 0;
  std::fill(out.begin(), out.end(), std::byte{0});
  std::memcpy(out.data(), &header, sizeof(header));
  if (!entries.empty()) std::memcpy(out.data() + sizeof(header), entries.data(), entries.size_bytes());
  const std::uint32_t crc = HeaderCrc(out);
  std::memcpy(out.data() + offsetof(BatchHeader, header_crc), &crc, sizeof(crc));
  return crc;
}

DecodedHeader DecodeHeader(ConstBlock block) {
  DecodedHeader decoded;
  std::memcpy(&decoded.header, block.data(), sizeof(BatchHeader));
  if (decoded.header.magic != kBatchMagic) {
    decoded.reason = "no batch header";
    return decoded;
  }
  if (decoded.header.header_crc != HeaderCrc(block)) {
    decoded.reason = "header crc does not match";
    return decoded;
  }
  const char* fault = FieldFault(decoded.header);
  const bool has_entries = decoded.header.kind == BatchKind::kData || decoded.header.kind == BatchKind::kMark;
  if (fault == nullptr && has_entries) fault = DecodeEntries(block, &decoded);
  decoded.fault = fault == nullptr ? HeaderFault::kNone : HeaderFault::kNotUnderstood;
  if (fault != nullptr) decoded.reason = fault;
  return decoded;
}

std::optional<std::size_t> FindBadEntry(const DecodedHeader& batch, std::span<const std::byte> data) {
  std::size_t next = 0;
  for (std::size_t i = 0; i < batch.entries.size(); ++i) {
    const Entry& entry = batch.entries[i];
    std::span<const std::byte> bytes;
    if (HasData(entry.kind)) {
      if (next + kBlockBytes > data.size()) return i;
      bytes = data.subspan(next, kBlockBytes);
      next += kBlockBytes;
    }
    if (EntryCrc(entry, bytes) != entry.crc) return i;
  }
  return std::nullopt;
}

}  // namespace ashlar::snode::disk
