// Header blocks to bytes and back. Pure functions: no I/O, nothing kept.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/base/ids.h"
#include "daemons/snode/replica_log/batch_format.h"

namespace ashlar::snode::disk {

using Block = std::span<std::byte, kBlockBytes>;
using ConstBlock = std::span<const std::byte, kBlockBytes>;

// The checksum of an entry: bytes 0–23 (space, page, version), then its data block if it has one. For pages it is the
// one the pnode computed (PageCrc32c).
std::uint32_t EntryCrc(const Entry& entry, std::span<const std::byte> data);

// Writes the header block of a batch; header_crc is computed here and returned. Entries: at most kMaxEntries.
std::uint32_t EncodeHeader(BatchHeader header, std::span<const Entry> entries, Block out);

enum class HeaderFault {
  kNone,
  kUnreadable,     // no magic or a wrong CRC: torn, rotten, or not a header at all
  kNotUnderstood,  // a correct CRC around something this release does not know: refused, never skipped
};

// A header block that was read. Footer blocks have entries too, which name blocks anywhere in the segment; of a seal
// DecodeSeal reads the rest.
struct DecodedHeader {
  HeaderFault fault = HeaderFault::kUnreadable;
  std::string reason;  // for people, when there is a fault
  BatchHeader header{};
  std::vector<Entry> entries;
};

// Believes nothing: magic, CRC, every count, every reserved byte, and that data blocks lie right behind the header in
// the order of their entries. Where the block should stand (segment, store, generation) is the caller's to compare.
DecodedHeader DecodeHeader(ConstBlock block);

struct SealBlock {
  BatchHeader header{};
  Seal seal{};
};
// Writes the footer and the seal of a segment of `segment_blocks` blocks to `out`, which holds
// FooterBlocks(entries.size()) blocks, the last of the segment. `header` as described at Seal, kind and block aside.
void EncodeFooter(BatchHeader header, std::span<const Entry> entries, std::uint64_t first_batch_seq,
                  std::uint32_t end_block, std::uint32_t segment_blocks, std::span<std::byte> out);
// The last block of a segment. nullopt: it holds no seal that can be believed (`*reason` tells, empty for no header).
std::optional<SealBlock> DecodeSeal(ConstBlock block, std::uint32_t segment_blocks, std::string* reason);
// The entries of a footer, from the blocks between first_footer_block and the seal. nullopt: damaged.
std::optional<std::vector<Entry>> DecodeFooter(const SealBlock& seal, std::span<const std::byte> blocks);

// The index of the first entry whose data does not match its CRC; `data` are the batch's data blocks. nullopt: all
// good.
std::optional<std::size_t> FindBadEntry(const DecodedHeader& batch, std::span<const std::byte> data);

}  // namespace ashlar::snode::disk
