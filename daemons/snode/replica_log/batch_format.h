// The bytes of the replica log on disk: batches of entries, the seal of a segment. Worked example and the meaning of
// each field: README.md and design 30 §9. All integers are little-endian.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

namespace ashlar::snode::disk {

static_assert(std::endian::native == std::endian::little, "the structs below are the bytes on disk");

constexpr std::size_t kBlockBytes = 4096;
constexpr std::uint16_t kFormat = 1;
constexpr std::array<char, 8> kBatchMagic = {'A', 'S', 'H', 'L', 'R', 'L', 'O', 'G'};
constexpr std::size_t kMaxEntries = 83;  // of a batch: (4096 - 112) / 48

enum class BatchKind : std::uint8_t { kData = 1, kMark = 2, kFooter = 3, kSeal = 4 };
enum class EntryKind : std::uint8_t {
  kPage = 1,
  kZero = 2,
  kTrim = 3,
  kOpen = 4,
  kEnd = 5,
  kClone = 6,
  kSnapshot = 7,
  kDrop = 8,
  kLost = 9,  // a version that was acknowledged and whose bytes are gone: keeps it from being forgotten
  kWritten = 10,  // in footers only: `space` is the batch_seq in which the trims and ends behind it were first written
};

using StoreUuid = std::array<std::uint8_t, 16>;

struct BatchHeader {              // offset
  std::array<char, 8> magic;      //  0
  std::uint16_t format;           //  8
  BatchKind kind;                 // 10
  std::uint8_t flags;             // 11  0
  std::uint16_t entry_count;      // 12
  std::uint16_t data_blocks;      // 14
  std::uint32_t header_crc;       // 16  over the 4096 bytes of this block, this field 0
  std::uint32_t prev_header_crc;  // 20  of the batch it follows
  StoreUuid store_uuid;           // 24
  std::uint32_t segment;          // 40
  std::uint32_t block;            // 44  where this header stands in its segment
  std::uint64_t generation;       // 48  +1 at each reuse of the segment; 0 = never used
  std::uint64_t batch_seq;        // 56  of the whole log, never reused
  std::uint64_t durable_upto;     // 64  highest batch_seq acknowledged when this was written
  std::uint64_t written_at_ns;    // 72  for people only
  std::uint64_t resumes;          // 80  batch_seq it follows; numbers between are void
  std::uint64_t trims_upto;  // 88  highest batch_seq in which a trim or end of this batch was first written; 0 = this
  std::array<std::uint8_t, 16> zero;  // 96
};

struct Entry {            // offset
  std::uint64_t space;    //  0
  std::uint64_t page;     //  8  trim: first page; clone: parent space
  std::uint64_t version;  // 16  trim: up_to_version; snapshot, drop: its id
  std::uint64_t era;      // 24
  std::uint32_t epoch;    // 32
  std::uint32_t crc;      // 36  over bytes 0–23, then the data if any
  std::uint16_t block;    // 40  in the segment; 0 = no data
  EntryKind kind;         // 42
  std::uint8_t flags;     // 43  0
  std::uint32_t count;    // 44  pages covered by a trim; lost: segment its bytes were lost in; else 0
};

// Footer and seal stand at the end of a segment that is full, written at once when all of its batches are acknowledged:
// blocks of kind kFooter with all its entries in order, then one of kind kSeal. Their headers carry the segment, block
// and generation; batch_seq = its last batch, resumes = what its first batch resumes, durable_upto = highest
// acknowledged at that moment, prev_header_crc = that of its last batch's header.
struct Seal {                        // at offset 112 of a block of kind kSeal
  std::uint32_t first_footer_block;  //  0
  std::uint32_t entry_count;         //  4
  std::uint64_t first_batch_seq;     //  8
  std::uint64_t last_batch_seq;      // 16
  std::uint32_t footer_crc;          // 24  over the footer blocks
  std::uint32_t end_block;           // 28  one past its last batch
};

static_assert(sizeof(BatchHeader) == 112 && offsetof(BatchHeader, header_crc) == 16);
static_assert(offsetof(BatchHeader, segment) == 40 && offsetof(BatchHeader, batch_seq) == 56);
static_assert(offsetof(BatchHeader, resumes) == 80 && offsetof(BatchHeader, zero) == 96);
static_assert(sizeof(Entry) == 48 && offsetof(Entry, crc) == 36 && offsetof(Entry, kind) == 42);
static_assert(sizeof(BatchHeader) + kMaxEntries * sizeof(Entry) <= kBlockBytes);
static_assert(sizeof(Seal) == 32 && offsetof(Seal, footer_crc) == 24);

constexpr bool HasData(EntryKind kind) { return kind == EntryKind::kPage || kind == EntryKind::kOpen; }

// Blocks that a footer of `entry_count` entries and the seal behind it take at the end of a segment.
constexpr std::uint32_t FooterBlocks(std::uint32_t entry_count) {
  return (entry_count + static_cast<std::uint32_t>(kMaxEntries) - 1) / static_cast<std::uint32_t>(kMaxEntries) + 1;
}

}  // namespace ashlar::snode::disk
