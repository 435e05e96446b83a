// Golden bytes of the messages of recovery: what one release writes the next one reads.
#include "common/fit/messages.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "absl/strings/escaping.h"
#include "common/fit/compare.h"
#include "common/fit/opcodes.h"

namespace ashlar::fit {
namespace {

template <typename T>
std::string Hex(const T& value) {
  return std::string(absl::BytesToHexString({reinterpret_cast<const char*>(&value), sizeof(value)}));
}

TEST(FitMessages, FenceHasGoldenBytes) {
  EXPECT_EQ(Hex(wire::FenceRequest{.space = 0x0102030405060708, .epoch = 4, .owner_node = 0x1112131415161718, .owner_incarnation = 9}),
            "0807060504030201" "0400000000000000" "1817161514131211" "0900000000000000");
  EXPECT_EQ(Hex(wire::FenceReply{.epoch = 4, .era = 2, .view = 3, .durable_batch_seq = 1000}),
            "0400000000000000" "0200000000000000" "0300000000000000" "e803000000000000");
}

TEST(FitMessages, RecoverReadHasGoldenBytes) {
  EXPECT_EQ(Hex(wire::RecoverRequest{.space = 0x11, .epoch = 4, .first_page = 0x7f400, .count = 64,
                                     .mode = static_cast<wire::u32>(wire::RecoverMode::kScan)}),
            "1100000000000000" "0400000000000000" "00f4070000000000" "40000000" "02000000");
  EXPECT_EQ(Hex(wire::PageHave{.origin = 0x11, .page = 0x7f3a2, .version = 5, .crc32c = 0x0ae258b5, .bulk_index = 3, .code = 0, .layer = 0}),
            "1100000000000000" "a2f3070000000000" "0500000000000000" "b558e20a" "03000000" "00000000" "00000000");
}

TEST(FitMessages, CompareHasGoldenBytes) {
  EXPECT_EQ(Hex(wire::CompareRequest{.space = 0x11, .epoch = 4, .first_page = 0x400, .count = 0,
                                     .mode = static_cast<wire::u32>(wire::CompareMode::kPages)}),
            "1100000000000000" "0400000000000000" "0004000000000000" "00000000" "02000000");
  EXPECT_EQ(Hex(wire::PageMark{.page = 0x7f3a2, .version = 5, .crc32c = 0x0ae258b5, .reserved = 0}),
            "a2f3070000000000" "0500000000000000" "b558e20a" "00000000");
}

TEST(FitMessages, SpaceStateHasGoldenBytes) {
  EXPECT_EQ(Hex(wire::SpaceStateReply{.epoch = 4, .view = 3, .count = 2, .bad_pages = 1, .flags = wire::kStateUnknownLoss, .reserved = 0}),
            "0400000000000000" "0300000000000000" "02000000" "01000000" "01000000" "00000000");
  EXPECT_EQ(Hex(wire::SnodeRef{.node = 0x1112131415161718, .state = 2, .reserved = 0}), "1817161514131211" "02000000" "00000000");
  EXPECT_EQ(Hex(wire::BadPage{.space = 0x11, .page = 0x7f3a2, .version = 5}), "1100000000000000" "a2f3070000000000" "0500000000000000");
}

// Both ends compute it, so its bytes are part of the protocol.
TEST(FitMessages, TheHashOfAnExtentIsTheSameEverywhere) {
  std::array<wire::PageMark, 2> marks = {wire::PageMark{.page = 0x400, .version = 5, .crc32c = 0x0ae258b5, .reserved = 0},
                                         wire::PageMark{.page = 0x401, .version = 1, .crc32c = 0x6db296b9, .reserved = 0}};
  EXPECT_EQ(MarksHash(marks), 3607227103739377499u);
  const wire::PageMark extent = ExtentMark(0x400, marks);
  EXPECT_EQ(extent.version, 2u);
  EXPECT_EQ(std::uint64_t{extent.reserved} << 32 | extent.crc32c, MarksHash(marks));
  marks[1].version = 2;
  EXPECT_NE(ExtentMark(0x400, marks).crc32c, extent.crc32c);
}

TEST(FitMessages, RecoverysOpcodesStandInTheTable) {
  for (wire::Opcode opcode : {wire::Opcode::kFenceEpoch, wire::Opcode::kRecoverRead, wire::Opcode::kCompare, wire::Opcode::kSpaceState}) {
    const OpcodeInfo* info = FindOpcode(opcode);
    ASSERT_NE(info, nullptr);
    EXPECT_EQ(info->retry, RetryClass::kIdempotent);
    EXPECT_FALSE(info->is_write) << "it must not queue behind a disk";
    EXPECT_EQ(info->max_request_bulk, 0u);
    EXPECT_EQ(info->cacheable, info->max_reply_bulk == 0);
  }
}

}  // namespace
}  // namespace ashlar::fit
