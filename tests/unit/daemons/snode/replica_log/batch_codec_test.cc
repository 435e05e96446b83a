#include "daemons/snode/replica_log/batch_codec.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "common/base/crc32c.h"
#include "daemons/snode/replica_log/open_record.h"
#include "daemons/snode/replica_log/superblock.h"

namespace ashlar::snode {
namespace {

using disk::BatchHeader;
using disk::BatchKind;
using disk::Entry;
using disk::EntryKind;
using Bytes = std::vector<std::byte>;

constexpr disk::StoreUuid kUuid = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                   0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};

disk::Block BlockAt(Bytes& bytes, std::size_t block = 0) {
  return disk::Block(std::span(bytes).subspan(block * disk::kBlockBytes).first<disk::kBlockBytes>());
}

BatchHeader ExampleHeader() {
  return {.magic = disk::kBatchMagic,
          .format = 1,
          .kind = BatchKind::kData,
          .entry_count = 3,
          .data_blocks = 1,
          .prev_header_crc = 0x1badcafe,
          .store_uuid = kUuid,
          .segment = 7,
          .generation = 3,
          .batch_seq = 1000,
          .durable_upto = 998,
          .written_at_ns = 0x187a46c146d58000,
          .resumes = 999};
}

// The worked example of README.md.
Bytes ExampleBatch() {
  Bytes bytes(2 * disk::kBlockBytes);
  const std::span<std::byte> data = std::span(bytes).subspan(disk::kBlockBytes);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i % 256);
  std::array<Entry, 3> entries = {
      Entry{.space = 0x11, .page = 0x7f3a2, .version = 5, .era = 2, .epoch = 3, .block = 1, .kind = EntryKind::kPage},
      Entry{.space = 0x11, .page = 0x7f3a3, .version = 1, .era = 2, .epoch = 3, .kind = EntryKind::kZero},
      Entry{.space = 0x11, .page = 0x80000, .version = 9, .era = 2, .epoch = 3, .kind = EntryKind::kTrim, .count = 16}};
  entries[0].crc = disk::EntryCrc(entries[0], data);
  entries[1].crc = disk::EntryCrc(entries[1], {});
  entries[2].crc = disk::EntryCrc(entries[2], {});
  disk::EncodeHeader(ExampleHeader(), entries, BlockAt(bytes));
  return bytes;
}

std::string Hex(std::span<const std::byte> bytes) {
  std::string hex;
  for (std::byte b : bytes) {
    constexpr char kDigits[] = "0123456789abcdef";
    hex += kDigits[static_cast<int>(b) >> 4];
    hex += kDigits[static_cast<int>(b) & 15];
  }
  return hex;
}

TEST(BatchCodec, WorkedExampleHasExactlyTheseBytes) {
  const Bytes bytes = ExampleBatch();
  EXPECT_EQ(Hex(std::span(bytes).first(0x70)),
            "4153484c524c4f470100010003000100"
            "31590405fecaad1b0011223344556677"
            "8899aabbccddeeff0700000000000000"
            "0300000000000000e803000000000000"
            "e6030000000000000080d546c1467a18"
            "e7030000000000000000000000000000"
            "00000000000000000000000000000000");
  EXPECT_EQ(Hex(std::span(bytes).subspan(0x70, 0x90)),
            "1100000000000000a2f3070000000000"
            "05000000000000000200000000000000"
            "03000000b558e20a0100010000000000"
            "1100000000000000a3f3070000000000"
            "01000000000000000200000000000000"
            "03000000b996b26d0000020000000000"
            "11000000000000000000080000000000"
            "09000000000000000200000000000000"
            "030000003414fa1b0000030010000000");
  EXPECT_EQ(Crc32c(bytes), 0xdbc33e54U);
}

TEST(BatchCodec, WorkedExampleReadsBack) {
  Bytes bytes = ExampleBatch();
  const disk::DecodedHeader decoded = disk::DecodeHeader(BlockAt(bytes));
  ASSERT_EQ(decoded.fault, disk::HeaderFault::kNone) << decoded.reason;
  EXPECT_EQ(decoded.header.batch_seq, 1000U);
  EXPECT_EQ(decoded.header.resumes, 999U);
  ASSERT_EQ(decoded.entries.size(), 3U);
  EXPECT_EQ(decoded.entries[0].page, 0x7f3a2U);
  EXPECT_EQ(decoded.entries[2].count, 16U);
  EXPECT_FALSE(disk::FindBadEntry(decoded, std::span(bytes).subspan(disk::kBlockBytes)).has_value());
}

// One of each kind, in the order of their numbers.
TEST(BatchCodec, OneEntryOfEachKindReadsBack) {
  Bytes bytes(disk::kBlockBytes);
  std::vector<Entry> entries;
  std::uint16_t block = 0;
  for (int kind = 1; kind <= 9; ++kind) {
    Entry entry{
        .space = 0x20, .page = static_cast<std::uint64_t>(kind), .version = 7, .kind = static_cast<EntryKind>(kind)};
    if (disk::HasData(entry.kind)) entry.block = ++block;
    if (entry.kind == EntryKind::kTrim) entry.count = 4;
    entries.push_back(entry);
  }
  BatchHeader header = ExampleHeader();
  header.entry_count = 9;
  header.data_blocks = 2;
  disk::EncodeHeader(header, entries, BlockAt(bytes));
  const disk::DecodedHeader decoded = disk::DecodeHeader(BlockAt(bytes));
  ASSERT_EQ(decoded.fault, disk::HeaderFault::kNone) << decoded.reason;
  ASSERT_EQ(decoded.entries.size(), 9U);
  for (std::size_t i = 0; i < 9; ++i) EXPECT_EQ(std::memcmp(&decoded.entries[i], &entries[i], sizeof(Entry)), 0) << i;
}

TEST(BatchCodec, EveryFlippedBitOfTheHeaderBlockIsSeen) {
  for (std::size_t bit = 0; bit < disk::kBlockBytes * 8; bit += 7) {
    Bytes bytes = ExampleBatch();
    bytes[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_EQ(disk::DecodeHeader(BlockAt(bytes)).fault, disk::HeaderFault::kUnreadable) << "bit " << bit;
  }
}

TEST(BatchCodec, FlippedSwappedOrShortDataIsSeen) {
  const Bytes good = ExampleBatch();
  Bytes bytes = good;
  const disk::DecodedHeader decoded = disk::DecodeHeader(BlockAt(bytes));
  for (std::size_t at = disk::kBlockBytes; at < bytes.size(); at += 97) {
    bytes = good;
    bytes[at] ^= std::byte{0x10};
    EXPECT_EQ(disk::FindBadEntry(decoded, std::span(bytes).subspan(disk::kBlockBytes)), 0U);
  }
  EXPECT_EQ(disk::FindBadEntry(decoded, {}), 0U);
  const Bytes zeros(disk::kBlockBytes);
  EXPECT_EQ(disk::FindBadEntry(decoded, zeros), 0U);
}

// A correct CRC around something wrong: another release, or a bug. Refused with words, never skipped.
struct Damage {
  const char* name;
  std::function<void(BatchHeader&, std::vector<Entry>&)> apply;
};
class NotUnderstood : public testing::TestWithParam<Damage> {};

TEST_P(NotUnderstood, IsRefused) {
  BatchHeader header = ExampleHeader();
  std::vector<Entry> entries(3);
  Bytes example = ExampleBatch();
  std::memcpy(entries.data(), example.data() + sizeof(BatchHeader), 3 * sizeof(Entry));
  GetParam().apply(header, entries);
  Bytes bytes(disk::kBlockBytes);
  disk::EncodeHeader(header, entries, BlockAt(bytes));
  const disk::DecodedHeader decoded = disk::DecodeHeader(BlockAt(bytes));
  EXPECT_EQ(decoded.fault, disk::HeaderFault::kNotUnderstood);
  EXPECT_FALSE(decoded.reason.empty());
}

INSTANTIATE_TEST_SUITE_P(
    BatchCodec, NotUnderstood,
    testing::Values(Damage{"Format", [](auto& h, auto&) { h.format = 2; }},
                    Damage{"Kind", [](auto& h, auto&) { h.kind = static_cast<BatchKind>(5); }},
                    Damage{"Flags", [](auto& h, auto&) { h.flags = 1; }},
                    Damage{"Reserved", [](auto& h, auto&) { h.zero[15] = 1; }},
                    Damage{"DataBlocks", [](auto& h, auto&) { h.data_blocks = 2; }},
                    Damage{"Generation0", [](auto& h, auto&) { h.generation = 0; }},
                    Damage{"ResumesItself", [](auto& h, auto&) { h.resumes = h.batch_seq; }},
                    Damage{"DurableInTheFuture", [](auto& h, auto&) { h.durable_upto = h.batch_seq; }},
                    Damage{"TrimsInTheFuture", [](auto& h, auto&) { h.trims_upto = h.batch_seq; }},
                    Damage{"MarkWithEntries", [](auto& h, auto&) { h.kind = BatchKind::kMark; }},
                    Damage{"EntryKind0", [](auto&, auto& e) { e[1].kind = static_cast<EntryKind>(0); }},
                    Damage{"EntryKindOfFooters", [](auto&, auto& e) { e[1].kind = EntryKind::kWritten; }},
                    Damage{"EntryKind11", [](auto&, auto& e) { e[1].kind = static_cast<EntryKind>(11); }},
                    Damage{"EntryFlag", [](auto&, auto& e) { e[2].flags = 4; }},
                    Damage{"Space0", [](auto&, auto& e) { e[0].space = 0; }},
                    Damage{"PageWithoutBlock", [](auto&, auto& e) { e[0].block = 0; }},
                    Damage{"BlockElsewhere", [](auto&, auto& e) { e[0].block = 2; }},
                    Damage{"ZeroWithBlock", [](auto&, auto& e) { e[1].block = 2; }},
                    Damage{"TrimOfNothing", [](auto&, auto& e) { e[2].count = 0; }},
                    Damage{"CountOfAPage", [](auto&, auto& e) { e[0].count = 1; }},
                    Damage{"VersionTooHigh", [](auto&, auto& e) { e[0].version = kMaxVersion + 1; }}),
    [](const auto& damage) { return damage.param.name; });

// The footer of a segment of 200 blocks with the worked example's entries as its last batch, and 100 zero pages before.
class FooterTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kBlocks = 200;
  FooterTest() : entries_(100), bytes_(disk::FooterBlocks(104) * disk::kBlockBytes) {
    for (std::uint32_t i = 0; i < 100; ++i) {
      entries_[i] = {.space = 0x11, .page = i, .version = 1, .kind = EntryKind::kZero};
      entries_[i].crc = disk::EntryCrc(entries_[i], {});
    }
    entries_.push_back({.space = 1000, .kind = EntryKind::kWritten});
    Bytes example = ExampleBatch();
    const auto batch = disk::DecodeHeader(BlockAt(example)).entries;
    entries_.insert(entries_.end(), batch.begin(), batch.end());
    BatchHeader header = ExampleHeader();
    header.data_blocks = 0;
    header.resumes = 989;
    header.durable_upto = 1001;
    disk::EncodeFooter(header, entries_, 990, 60, kBlocks, bytes_);
  }
  std::optional<disk::SealBlock> Seal(std::string* reason) {
    return disk::DecodeSeal(BlockAt(bytes_, bytes_.size() / disk::kBlockBytes - 1), kBlocks, reason);
  }
  std::vector<Entry> entries_;
  Bytes bytes_;
};

TEST_F(FooterTest, HasGoldenBytesAndReadsBack) {
  ASSERT_EQ(bytes_.size(), 3 * disk::kBlockBytes);
  EXPECT_EQ(Hex(std::span(bytes_).subspan(2 * disk::kBlockBytes + 112, 32)),
            "c5000000" "68000000" "de03000000000000" "e803000000000000" "5e49e323" "3c000000");
  EXPECT_EQ(Crc32c(bytes_), 2994211120U);
  std::string reason;
  const auto seal = Seal(&reason);
  ASSERT_TRUE(seal.has_value()) << reason;
  EXPECT_EQ(seal->header.block, 199U);
  EXPECT_EQ(seal->seal.first_footer_block, 197U);
  const auto entries = disk::DecodeFooter(*seal, std::span(bytes_).first(2 * disk::kBlockBytes));
  ASSERT_TRUE(entries.has_value());
  ASSERT_EQ(entries->size(), entries_.size());
  EXPECT_EQ(std::memcmp(entries->data(), entries_.data(), entries_.size() * sizeof(Entry)), 0);
}

TEST_F(FooterTest, EveryFlippedBitIsSeen) {
  const Bytes good = bytes_;
  std::string reason;
  for (std::size_t bit = 0; bit < bytes_.size() * 8; bit += 101) {
    bytes_ = good;
    bytes_[bit / 8] ^= std::byte{1} << (bit % 8);
    const auto seal = Seal(&reason);
    ASSERT_TRUE(!seal || !disk::DecodeFooter(*seal, std::span(bytes_).first(2 * disk::kBlockBytes))) << "bit " << bit;
    ASSERT_EQ(reason, "") << "no release wrote that";
  }
}

TEST(OpenRecord, ReadsBackAndRefusesWhatItDoesNotKnow) {
  const OpenRecord record{.epoch = Epoch(4),
                          .view = 9,
                          .owner = {NodeId(1), Incarnation(100)},
                          .home = {NodeId(2), Incarnation(200)},
                          .era = 5,
                          .ack = 2,
                          .replicas = {{NodeId(3), 2}, {NodeId(4), 1}}};
  Bytes bytes(disk::kBlockBytes);
  EncodeOpen(record, BlockAt(bytes));
  EXPECT_EQ(DecodeOpen(BlockAt(bytes)), record);
  EXPECT_EQ(Hex(std::span(bytes).first(80)),
            "4153484c524f504e0100020002000000"
            "04000000000000000900000000000000"
            "05000000000000000100000000000000"
            "64000000000000000200000000000000"
            "c8000000000000000300000000000000");
  Bytes newer = bytes;
  newer[8] = std::byte{2};
  EXPECT_FALSE(DecodeOpen(BlockAt(newer)).has_value());
  Bytes many = bytes;
  many[10] = std::byte{9};
  EXPECT_FALSE(DecodeOpen(BlockAt(many)).has_value());
}

TEST(Superblock, ReadsBackAndEveryFlippedBitIsSeen) {
  const Superblock superblock{.store_uuid = kUuid,
                              .sequence = 6,
                              .segment_bytes = 64 << 20,
                              .segment_count = 128,
                              .cluster = "lab",
                              .node = NodeId(0x1234),
                              .retired = {5, 9}};
  Bytes bytes(disk::kBlockBytes);
  EncodeSuperblock(superblock, BlockAt(bytes));
  EXPECT_EQ(DecodeSuperblock(BlockAt(bytes)).superblock, superblock);
  EXPECT_EQ(Hex(std::span(bytes).first(12)), "4153484c5253555001000300");
  EXPECT_EQ(Hex(std::span(bytes).subspan(16, 52)),
            "00112233445566778899aabbccddeeff"
            "06000000000000000000000400000000"
            "80000000020000003412000000000000"
            "6c616200");
  for (std::size_t bit = 0; bit < disk::kBlockBytes * 8; bit += 5) {
    Bytes damaged = bytes;
    damaged[bit / 8] ^= std::byte{1} << (bit % 8);
    ASSERT_EQ(DecodeSuperblock(BlockAt(damaged)).fault, SuperblockFault::kUnreadable) << "bit " << bit;
  }
}

}  // namespace
}  // namespace ashlar::snode
