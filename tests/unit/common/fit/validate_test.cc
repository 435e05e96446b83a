#include "common/fit/validate.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <random>
#include <vector>

#include "common/base/crc32c.h"

namespace ashlar::fit {
namespace {

constexpr std::uint16_t kTrimOpcode = static_cast<std::uint16_t>(wire::Opcode::kTrim);

// A good frame of 3 payload bytes in slot 2, which each test damages in one way.
class ValidateTest : public testing::Test {
 protected:
  void Place(wire::Kind kind) {
    kind_ = kind;
    context_ = {.kind = kind, .connection_epoch = 11, .peer_incarnation = 22, .shape = {32, 8}, .slots = slots_};
    for (SlotExpectation& slot : slots_) slot = {.sequence = 0, .opcode = 0, .open = kind == wire::Kind::kRequest};
    slots_[2] = {.sequence = kind == wire::Kind::kReply ? 5u : 4u, .opcode = kTrimOpcode, .open = true};
    header_ = {.opcode = kTrimOpcode, .sequence = 5, .connection_epoch = 11, .sender_incarnation = 22, .slot = 2,
               .payload_bytes = 3, .time_us = 1000};
    imm_ = wire::Imm(kind, 2, 5, 0);
    byte_len_ = 67;
    Seal();
  }
  void Seal() {
    SealHeader(header_, std::span<const std::byte>(payload_).first(std::min<std::size_t>(header_.payload_bytes, 4096)));
    Store();
  }
  void SealKeepingPayloadCrc() {
    header_.header_crc = Crc32c(std::as_bytes(std::span(&header_, 1)).first(60));
    Store();
  }
  void Store() {
    std::byte* at = arena_.data() + context_.shape.SlotOffset(2);
    std::memcpy(at, &header_, sizeof(header_));
    std::memcpy(at + sizeof(header_), payload_.data(), payload_.size());
  }
  Verdict Check() { return ValidateFrame(context_, imm_, byte_len_, arena_, frame_, copy_); }

  wire::Kind kind_{};
  std::vector<std::byte> arena_ = std::vector<std::byte>(wire::ArenaShape{32, 8}.Bytes());
  std::vector<std::byte> payload_ = std::vector<std::byte>(4096, std::byte{7});
  std::vector<std::byte> copy_ = std::vector<std::byte>(4096);
  std::vector<SlotExpectation> slots_ = std::vector<SlotExpectation>(32);
  FrameContext context_;
  wire::Header header_;
  std::uint32_t imm_ = 0, byte_len_ = 0;
  Frame frame_;
};

TEST_F(ValidateTest, AGoodFrameIsAcceptedAndCopiedOut) {
  for (wire::Kind kind : {wire::Kind::kRequest, wire::Kind::kReply}) {
    Place(kind);
    ASSERT_EQ(Check(), Verdict::kAccept);
    EXPECT_EQ(frame_.slot, 2u);
    EXPECT_EQ(frame_.header.sequence, 5u);
    EXPECT_EQ(copy_[2], std::byte{7});
    EXPECT_EQ(copy_[3], std::byte{0});
  }
}


#define DAMAGE_TEST(name, way, expected_verdict, ...)         \
  TEST_F(ValidateTest, name) {                                \
    Place(wire::Kind::way);                                   \
    ASSERT_EQ(Check(), Verdict::kAccept);                     \
    { __VA_ARGS__; }                                          \
    EXPECT_EQ(Check(), Verdict::expected_verdict);            \
  }

DAMAGE_TEST(OtherKind, kRequest, kBadKind, imm_ = wire::Imm(wire::Kind::kReply, 2, 5, 0))
DAMAGE_TEST(InvalidKind, kReply, kBadKind, imm_ = 0x00200500)
DAMAGE_TEST(MinusOne, kReply, kBadKind, imm_ = static_cast<std::uint32_t>(-1))
DAMAGE_TEST(MinusThirtyThousand, kRequest, kBadKind, imm_ = static_cast<std::uint32_t>(-30704))
DAMAGE_TEST(UnknownImmFlag, kRequest, kBadFlags, imm_ |= 2)
DAMAGE_TEST(SlotBeyondTheArena, kRequest, kBadSlot, imm_ = wire::Imm(wire::Kind::kRequest, 32, 5, 0))
DAMAGE_TEST(LastSlotOfTheImmediate, kReply, kBadSlot, imm_ = wire::Imm(wire::Kind::kReply, 1023, 5, 0))
DAMAGE_TEST(ReplyForASlotNeverUsed, kReply, kBadState, imm_ = wire::Imm(wire::Kind::kReply, 3, 0, 0))
DAMAGE_TEST(RequestWhileOneWaits, kRequest, kBadState, slots_[2].open = false)
DAMAGE_TEST(ReplyOfAnOlderGeneration, kReply, kStale, imm_ = wire::Imm(wire::Kind::kReply, 2, 4, 0))
DAMAGE_TEST(ReplyOfANewerGeneration, kReply, kBadGeneration, imm_ = wire::Imm(wire::Kind::kReply, 2, 6, 0))
DAMAGE_TEST(ReplyForACallThatEnded, kReply, kStale, slots_[2].open = false)
DAMAGE_TEST(GenerationBesideTheHeader, kRequest, kBadGeneration, imm_ = wire::Imm(wire::Kind::kRequest, 2, 6, 0))
DAMAGE_TEST(WrongMagic, kRequest, kBadMagic, header_.magic ^= 1; Store())
DAMAGE_TEST(WrongVersion, kRequest, kBadVersion, header_.version = 3; Store())
DAMAGE_TEST(FlippedHeaderBit, kRequest, kBadHeaderCrc, header_.slot ^= 1; Store())
DAMAGE_TEST(OlderConnection, kRequest, kBadEpoch, header_.connection_epoch = 10; Seal())
DAMAGE_TEST(OtherIncarnation, kReply, kBadIncarnation, header_.sender_incarnation = 21; Seal())
DAMAGE_TEST(OtherSlotInTheHeader, kRequest, kSlotMismatch, header_.slot = 3; Seal())
DAMAGE_TEST(OlderRequest, kRequest, kStale, header_.sequence = 3; imm_ = wire::Imm(wire::Kind::kRequest, 2, 3, 0); Seal())
DAMAGE_TEST(ReplyAWholeTurnAhead, kReply, kBadSequence, header_.sequence = 5 + 4096; Seal())
DAMAGE_TEST(LengthBesideTheCompletion, kRequest, kBadLength, byte_len_ = 66)
DAMAGE_TEST(ShorterThanAHeader, kRequest, kBadLength, byte_len_ = 3)
DAMAGE_TEST(PayloadTooLong, kRequest, kBadLength, header_.payload_bytes = 4097; byte_len_ = 64 + 4097; Seal())
DAMAGE_TEST(PayloadLengthThatWraps, kRequest, kBadLength, header_.payload_bytes = 0xFFFFFFC3; byte_len_ = 3; Seal())
DAMAGE_TEST(BulkTooLong, kRequest, kBadLength, header_.bulk_bytes = 262144 + 4096; imm_ |= 1; Seal())
DAMAGE_TEST(BulkOfHalfAPage, kRequest, kBadLength, header_.bulk_bytes = 2048; imm_ |= 1; Seal())
DAMAGE_TEST(BulkNotInTheImmediate, kRequest, kBadFlags, header_.bulk_bytes = 4096; Seal())
DAMAGE_TEST(BulkOnlyInTheImmediate, kRequest, kBadFlags, imm_ |= 1)
DAMAGE_TEST(BulkOfAnOpcodeWithout, kRequest, kOverLimit, header_.bulk_bytes = 4096; imm_ |= 1; Seal())
DAMAGE_TEST(PayloadBeyondTheOpcode, kReply, kOverLimit, header_.payload_bytes = 65; byte_len_ = 129; Seal())
DAMAGE_TEST(UnknownHeaderFlag, kRequest, kBadFlags, header_.flags = 8; Seal())
DAMAGE_TEST(ReplyFlagInARequest, kRequest, kBadFlags, header_.flags = wire::kFromCache; Seal())
DAMAGE_TEST(StatusInARequest, kRequest, kBadStatus, header_.status = 1; Seal())
DAMAGE_TEST(HintsInARequest, kRequest, kBadStatus, header_.hints = 1; Seal())
DAMAGE_TEST(UnknownStatus, kReply, kBadStatus, header_.status = 11; Seal())
DAMAGE_TEST(ReplyWithAnotherOpcode, kReply, kBadOpcode, header_.opcode = 1; Seal())
DAMAGE_TEST(UnknownOpcodeIsAnswered, kRequest, kUnknownOpcode, header_.opcode = 999; Seal())
DAMAGE_TEST(NoBudget, kRequest, kBadBudget, header_.time_us = 0; Seal())
DAMAGE_TEST(FlippedPayloadBit, kReply, kBadPayloadCrc, payload_[1] ^= std::byte{1}; SealKeepingPayloadCrc())

TEST_F(ValidateTest, BulkBeyondTheBulkSlots) {
  Place(wire::Kind::kRequest);
  context_.shape.bulk_slots = 2;
  header_.opcode = static_cast<std::uint16_t>(wire::Opcode::kWriteBack);
  header_.bulk_bytes = 4096;
  imm_ |= 1;
  Seal();
  EXPECT_EQ(Check(), Verdict::kOverLimit);
  context_.shape.bulk_slots = 3;
  EXPECT_EQ(Check(), Verdict::kAccept);
}

TEST_F(ValidateTest, ARepeatedRequestIsLeftToTheRecord) {
  Place(wire::Kind::kRequest);
  slots_[2].sequence = 5;
  EXPECT_EQ(Check(), Verdict::kAccept);
}

TEST_F(ValidateTest, NoFlippedBitOfAFrameIsAccepted) {
  for (wire::Kind kind : {wire::Kind::kRequest, wire::Kind::kReply})
    for (std::size_t bit = 0; bit < 67 * 8; ++bit) {
      Place(kind);
      arena_[context_.shape.SlotOffset(2) + bit / 8] ^= static_cast<std::byte>(1 << bit % 8);
      EXPECT_TRUE(IsReject(Check())) << bit;
    }
}

TEST(FitRegression, ReplyIndexOutOfRange) {
  std::minstd_rand random(1);
  for (std::uint32_t slot_count : {32u, 64u}) {
    wire::ArenaShape shape{slot_count, 8};
    std::vector<std::byte> arena(shape.Bytes()), payload(4096);
    std::vector<SlotExpectation> slots(slot_count);
    FrameContext context{.kind = wire::Kind::kReply, .connection_epoch = 1, .peer_incarnation = 1, .shape = shape, .slots = slots};
    Frame frame;
    for (std::uint32_t slot : {0u, 63u, 64u, 1023u}) {
      Verdict verdict = ValidateFrame(context, wire::Imm(wire::Kind::kReply, slot, 0, 0), 64, arena, frame, payload);
      EXPECT_TRUE(IsReject(verdict)) << slot;
    }
    for (std::uint32_t imm : {(1u << 20) - 1, static_cast<std::uint32_t>(-1), static_cast<std::uint32_t>(-30704), 0u})
      EXPECT_TRUE(IsReject(ValidateFrame(context, imm, 64, arena, frame, payload))) << imm;
    for (SlotExpectation& slot : slots) slot = {.sequence = 1, .opcode = 1, .open = true};
    for (int i = 0; i < 100'000; ++i)
      EXPECT_NE(ValidateFrame(context, static_cast<std::uint32_t>(random() * 2654435761u), static_cast<std::uint32_t>(random() % 5000), arena, frame, payload), Verdict::kAccept);
  }
}

TEST(FitControl, OnlyTheOtherEndsCodesAreTaken) {
  using enum Verdict;
  auto check = [](std::uint32_t code, bool from_client, std::uint32_t slot = 0, std::uint64_t sequence = 0, std::uint32_t length = 0) {
    return ValidateControl(wire::Imm(wire::Kind::kControl, slot, sequence, code), length, 32, from_client);
  };
  EXPECT_EQ(check(wire::kCancel, true, 31, 77), kAccept);
  EXPECT_EQ(check(wire::kCancel, true, 32), kBadSlot);
  EXPECT_EQ(check(wire::kCancel, false), kBadControl);
  EXPECT_EQ(check(wire::kCancelAck, false, 31), kAccept);
  EXPECT_EQ(check(wire::kCancelAck, true), kBadControl);
  EXPECT_EQ(check(wire::kKeepAlive, true), kAccept);
  EXPECT_EQ(check(wire::kKeepAlive, true, 1), kBadControl);
  EXPECT_EQ(check(wire::kKeepAlive, false), kBadControl);
  EXPECT_EQ(check(wire::kKeepAliveAnswer, false), kAccept);
  EXPECT_EQ(check(wire::kCancel, true, 0, 0, 1), kBadLength);
  EXPECT_EQ(check(0, true), kBadControl);
  EXPECT_EQ(check(200, false), kBadControl);
  EXPECT_EQ(ValidateControl(wire::Imm(wire::Kind::kReply, 0, 0, 0), 0, 32, true), kBadKind);
}

TEST(FitArenaHello, EachWrongFieldIsRefused) {
  PeerIdentity peer{9, 0xAA, 0xBB};
  const wire::ArenaHello good{.slots = 32, .connection_epoch = 9, .node_id = 0xAA, .incarnation = 0xBB, .arena_key = 1,
                              .arena_bytes = static_cast<std::uint32_t>(wire::ArenaShape{32, 8}.Bytes()), .arena_base = 0,
                              .bulk_slots = 8, .bulk_pages = 64, .caps = 0, .reserved = 0};
  auto check = [&](const std::function<void(wire::ArenaHello&)>& damage, bool seal = true) {
    wire::ArenaHello hello = good, parsed;
    if (seal) damage(hello);
    SealArenaHello(hello);
    if (!seal) damage(hello);
    return ValidateArenaHello(peer, std::as_bytes(std::span(&hello, 1)), parsed);
  };
  EXPECT_EQ(check([](auto&) {}), Verdict::kAccept);
  EXPECT_EQ(check([](auto& h) { h.connection_epoch = 8; }), Verdict::kBadHello);
  EXPECT_EQ(check([](auto& h) { h.node_id = 1; }), Verdict::kBadHello);
  EXPECT_EQ(check([](auto& h) { h.incarnation = 1; }), Verdict::kBadHello);
  EXPECT_EQ(check([](auto& h) { h.slots = 0; h.bulk_slots = 0; h.arena_bytes = 0; }), Verdict::kBadHello);
  EXPECT_EQ(check([](auto& h) { h.slots = 1025; }), Verdict::kBadHello);
  EXPECT_EQ(check([](auto& h) { h.bulk_slots = 33; }), Verdict::kBadHello);
  EXPECT_EQ(check([](auto& h) { h.bulk_pages = 32; }), Verdict::kBadHello);
  EXPECT_EQ(check([](auto& h) { h.arena_bytes -= 1; }), Verdict::kBadHello);
  EXPECT_EQ(check([](auto& h) { h.crc ^= 1; }, false), Verdict::kBadHello);
  EXPECT_EQ(check([](auto& h) { h.version = 1; }, false), Verdict::kBadHello);
  EXPECT_EQ(check([](auto& h) { h.magic = 1; }, false), Verdict::kBadHello);
  wire::ArenaHello parsed;
  EXPECT_EQ(ValidateArenaHello(peer, std::as_bytes(std::span(&good, 1)).first(63), parsed), Verdict::kBadHello);
}

}  // namespace
}  // namespace ashlar::fit
