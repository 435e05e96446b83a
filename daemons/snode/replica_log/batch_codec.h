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

// A header block that was read. Seal and footer blocks decode too; their bodies are read by the release that writes
// them.
struct DecodedHeader {
  HeaderFault fault = HeaderFault::kUnreadable;
  std::string reason;  // for people, when there is a fault
  BatchHeader header{};
  std::vector<Entry> entries;
};

// Believes nothing: magic, CRC, every count, every reserved byte, and that data blocks lie right behind the header in
// the order of their entries. Where the block should stand (segment, store, generation) is the caller's to compare.
DecodedHeader DecodeHeader(ConstBlock block);

// The index of the first entry whose data does not match its CRC; `data` are the batch's data blocks. nullopt: all
// good.
std::optional<std::size_t> FindBadEntry(const DecodedHeader& batch, std::span<const std::byte> data);

}  // namespace ashlar::snode::disk
