#include "common/fit/wire.h"

#include <gtest/gtest.h>

#include <cstring>

#include "absl/strings/escaping.h"
#include "common/fit/handshake.h"
#include "common/fit/validate.h"

namespace ashlar::fit {
namespace {

template <typename T>
std::string Hex(const T& value) {
  return std::string(absl::BytesToHexString({reinterpret_cast<const char*>(&value), sizeof(value)}));
}

TEST(FitWire, HeaderHasGoldenBytes) {
  wire::Header header{.opcode = 4, .sequence = 0x0102030405060708, .connection_epoch = 0x1112131415161718,
                      .sender_incarnation = 0x2122232425262728, .slot = 5, .payload_bytes = 3, .bulk_bytes = 8192,
                      .time_us = 1'000'000, .flags = wire::kResend, .status = 0, .hints = 0};
  const char payload[] = {'a', 'b', 'c'};
  SealHeader(header, std::as_bytes(std::span(payload)));
  EXPECT_EQ(Hex(header),
            "46495432" "0200" "0400" "0807060504030201" "1817161514131211" "2827262524232221" "05000000" "03000000"
            "00200000" "40420f00" "0300" "0000" "00000000" "b73f4b36" "eeb7db6d");
}

TEST(FitWire, ArenaHelloHasGoldenBytes) {
  wire::ArenaHello hello{.slots = 32, .connection_epoch = 9, .node_id = 0xAA, .incarnation = 0xBB, .arena_key = 0x10001,
                         .arena_bytes = 2236416, .arena_base = 0x20000000000, .bulk_slots = 8, .bulk_pages = 64,
                         .caps = 0, .reserved = 0};
  SealArenaHello(hello);
  EXPECT_EQ(Hex(hello),
            "46495432" "0200" "2000" "0900000000000000" "aa00000000000000" "bb00000000000000" "01000100" "00202200"
            "0000000000020000" "0800" "4000" "00000000" "00000000" "d5563a64");
}

TEST(FitWire, HelloHasGoldenBytes) {
  Token token;
  token.fill(std::byte{0x42});
  wire::Hello hello{.magic = wire::kHelloMagic, .version = wire::kVersion, .backend = 0, .shard = 3, .slots = 32,
                    .token_id = 0x0102030405060708, .connection_epoch = 9};
  wire::Hello ack = MakeHelloAck(token, hello, 16);
  EXPECT_EQ(Hex(ack).substr(0, 80), "4641" "02" "00" "0300" "1000" "0807060504030201" "0900000000000000"
                                    "00000000000000000000000000000000");
  // HMAC-SHA256 with 16 × 0x42 over those 40 bytes; made by another implementation (Python's hmac), as the CRCs above.
  EXPECT_EQ(Hex(ack).substr(80), "60ede33e60173bd4b13a8d818272536c");
}

TEST(FitWire, ImmediateHoldsKindSlotGenerationFlags) {
  EXPECT_EQ(wire::Imm(wire::Kind::kRequest, 1, 1, 0), 0x40100100u);
  EXPECT_EQ(wire::Imm(wire::Kind::kReply, 1023, 0x1FFF, 1), 0xBFFFFF01u);
  std::uint32_t imm = wire::Imm(wire::Kind::kControl, 77, 0x5432, wire::kCancel);
  EXPECT_EQ(wire::ImmKind(imm), wire::Kind::kControl);
  EXPECT_EQ(wire::ImmSlot(imm), 77u);
  EXPECT_EQ(wire::ImmGeneration(imm), 0x432u);
  EXPECT_EQ(wire::ImmFlags(imm), wire::kCancel);
}

TEST(FitWire, ArenaPartsDoNotOverlap) {
  for (std::uint32_t slots : {1u, 8u, 32u, 64u, 1024u}) {
    wire::ArenaShape shape{slots, std::min(slots, 8u)};
    EXPECT_GE(shape.BulkBase(), shape.SlotOffset(slots - 1) + sizeof(wire::Header) + wire::kMaxPayloadBytes);
    EXPECT_EQ(shape.BulkBase() % kPageBytes, 0u);
    EXPECT_EQ(shape.Bytes(), shape.BulkOffset(shape.bulk_slots - 1) + wire::kBulkBytes);
  }
}

}  // namespace
}  // namespace ashlar::fit
