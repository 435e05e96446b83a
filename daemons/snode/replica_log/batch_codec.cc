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

// nullptr: understood. Otherwise what is wrong with an entry whose header has a correct CRC. `expected_block`: where its
// data must stand, if it has some.
const char* EntryFault(const Entry& entry, std::uint32_t expected_block, EntryKind last_kind) {
  if (entry.kind < EntryKind::kPage || entry.kind > last_kind) return "unknown entry kind";
  if (entry.flags != 0) return "unknown entry flag";
  if (entry.space == 0) return "entry of space 0";
  if (entry.block != (HasData(entry.kind) ? expected_block : 0)) return "data block out of order";
  if ((entry.count != 0) != (entry.kind == EntryKind::kTrim) && entry.kind != EntryKind::kLost) return "count belongs to trims alone";
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
  if (header.kind == BatchKind::kFooter || header.kind == BatchKind::kSeal) {
    if (header.batch_seq == 0 || header.resumes >= header.batch_seq || header.durable_upto < header.batch_seq)
      return "footer or seal of no segment";
    if ((header.kind == BatchKind::kFooter) != (header.entry_count != 0) || header.data_blocks != 0 || header.trims_upto != 0)
      return "count does not suit the kind";
  } else {
    if (header.batch_seq == 0 || header.resumes >= header.batch_seq) return "batch number does not follow";
    if (header.durable_upto >= header.batch_seq) return "durable_upto is not in the past";
    if (header.trims_upto >= header.batch_seq) return "trims_upto is not in the past";
    if ((header.kind == BatchKind::kMark) != (header.entry_count == 0)) return "entry count does not suit the kind";
  }
  return nullptr;
}

// All but seals: the entries, and that everything behind them is zero.
const char* DecodeEntries(ConstBlock block, DecodedHeader* out) {
  const BatchHeader& header = out->header;
  const std::size_t end = sizeof(BatchHeader) + header.entry_count * sizeof(Entry);
  out->entries.resize(header.entry_count);
  if (!out->entries.empty())
    std::memcpy(out->entries.data(), block.data() + sizeof(BatchHeader), end - sizeof(BatchHeader));
  std::uint32_t next_block = header.block + 1;
  const bool footer = header.kind == BatchKind::kFooter;
  for (const Entry& entry : out->entries) {
    if (footer && (entry.block >= header.block || (HasData(entry.kind) && entry.block == 0))) return "data block out of bounds";
    if (const char* fault = EntryFault(entry, footer ? entry.block : next_block, footer ? EntryKind::kWritten : EntryKind::kLost))
      return fault;
    if (HasData(entry.kind)) ++next_block;
  }
  if (!footer && next_block - header.block - 1 != header.data_blocks) return "data_blocks does not match the entries";
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
  if (fault == nullptr && decoded.header.kind != BatchKind::kSeal) fault = DecodeEntries(block, &decoded);
  decoded.fault = fault == nullptr ? HeaderFault::kNone : HeaderFault::kNotUnderstood;
  if (fault != nullptr) decoded.reason = fault;
  return decoded;
}

void EncodeFooter(BatchHeader header, std::span<const Entry> entries, std::uint64_t first_batch_seq,
                  std::uint32_t end_block, std::uint32_t segment_blocks, std::span<std::byte> out) {
  const std::uint32_t blocks = FooterBlocks(static_cast<std::uint32_t>(entries.size()));
  ASHLAR_CHECK(out.size() == blocks * kBlockBytes && end_block + blocks <= segment_blocks, "blocks={} end={}", blocks, end_block);
  Seal seal{.first_footer_block = segment_blocks - blocks,
            .entry_count = static_cast<std::uint32_t>(entries.size()),
            .first_batch_seq = first_batch_seq,
            .last_batch_seq = header.batch_seq,
            .footer_crc = 0,
            .end_block = end_block};
  header.kind = BatchKind::kFooter;
  for (std::uint32_t b = 0; b + 1 < blocks; ++b) {
    const std::span<const Entry> some = entries.subspan(b * kMaxEntries, std::min(kMaxEntries, entries.size() - b * kMaxEntries));
    header.block = seal.first_footer_block + b;
    header.entry_count = static_cast<std::uint16_t>(some.size());
    EncodeHeader(header, some, Block(out.subspan(b * kBlockBytes).first<kBlockBytes>()));
  }
  const Block last(out.last<kBlockBytes>());
  seal.footer_crc = Crc32c(out.first(out.size() - kBlockBytes));
  header.kind = BatchKind::kSeal;
  header.block = segment_blocks - 1;
  header.entry_count = 0;
  header.header_crc = 0;
  std::fill(last.begin(), last.end(), std::byte{0});
  std::memcpy(last.data(), &header, sizeof(header));
  std::memcpy(last.data() + sizeof(header), &seal, sizeof(seal));
  const std::uint32_t crc = HeaderCrc(last);
  std::memcpy(last.data() + offsetof(BatchHeader, header_crc), &crc, sizeof(crc));
}

std::optional<SealBlock> DecodeSeal(ConstBlock block, std::uint32_t segment_blocks, std::string* reason) {
  const DecodedHeader decoded = DecodeHeader(block);
  *reason = decoded.fault == HeaderFault::kUnreadable ? "" : decoded.reason;
  if (decoded.fault != HeaderFault::kNone || decoded.header.kind != BatchKind::kSeal) return std::nullopt;
  SealBlock sealed{.header = decoded.header, .seal = {}};
  std::memcpy(&sealed.seal, block.data() + sizeof(BatchHeader), sizeof(Seal));
  const Seal& seal = sealed.seal;
  const std::uint64_t room = segment_blocks;
  const bool fits = seal.entry_count <= room * kMaxEntries && seal.first_footer_block + std::uint64_t{FooterBlocks(seal.entry_count)} == room &&
                    seal.end_block > 0 && seal.end_block <= seal.first_footer_block;
  const bool ordered = seal.first_batch_seq > sealed.header.resumes && seal.first_batch_seq <= seal.last_batch_seq &&
                       seal.last_batch_seq == sealed.header.batch_seq;
  if (fits && ordered && AllZero(block.subspan(sizeof(BatchHeader) + sizeof(Seal)))) return sealed;
  *reason = "seal contradicts itself";
  return std::nullopt;
}

std::optional<std::vector<Entry>> DecodeFooter(const SealBlock& seal, std::span<const std::byte> blocks) {
  if (blocks.size() != (FooterBlocks(seal.seal.entry_count) - 1) * kBlockBytes || Crc32c(blocks) != seal.seal.footer_crc)
    return std::nullopt;
  std::vector<Entry> entries;
  entries.reserve(seal.seal.entry_count);
  for (std::size_t at = 0; at < blocks.size(); at += kBlockBytes) {
    const DecodedHeader decoded = DecodeHeader(ConstBlock(blocks.subspan(at).first<kBlockBytes>()));
    if (decoded.fault != HeaderFault::kNone || decoded.header.kind != BatchKind::kFooter) return std::nullopt;
    entries.insert(entries.end(), decoded.entries.begin(), decoded.entries.end());
  }
  if (entries.size() != seal.seal.entry_count) return std::nullopt;
  return entries;
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
