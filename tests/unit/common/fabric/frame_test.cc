#include "common/fabric/tcp/frame.h"

#include <cstring>
#include <functional>
#include <vector>

#include <gtest/gtest.h>

namespace ashlar::fabric::tcp {
namespace {

constexpr std::uint32_t kSeed = 0x5EED0001;

FrameHeader Example() {
  FrameHeader header;
  header.op = FrameOp::kWriteWithImm;
  header.flags = kFlagSolicited;
  header.length = 64;
  header.key = 7;
  header.address = 0x1000;
  header.imm = 0x40100100;
  header.sequence = 3;
  header.ack = 2;
  return header;
}

// The example of common/fabric/README.md; its checksum was computed bit by bit by another program.
constexpr unsigned char kGolden[40] = {
    0x41, 0x53, 0x48, 0x46, 0x01, 0x05, 0x01, 0x00, 0x40, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x10, 0x40, 0x03, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0xDC, 0x36, 0x22};

TEST(Frame, GoldenBytes) {
  FrameHeader header = Example();
  Seal(header, kSeed);
  unsigned char bytes[40];
  std::memcpy(bytes, &header, sizeof(bytes));
  EXPECT_EQ(std::vector<unsigned char>(bytes, bytes + 40), std::vector<unsigned char>(kGolden, kGolden + 40));
  EXPECT_EQ(CheckHeader(header, kSeed, 3), FrameFault::kNone);
}

// One damage per field, sealed again, so that the checksum does not hide what the field's own check does.
struct Damage {
  const char* name;
  std::function<void(FrameHeader&)> make;
  FrameFault fault;
};

class FrameDamage : public ::testing::TestWithParam<Damage> {};

TEST_P(FrameDamage, IsRefusedByName) {
  FrameHeader header = Example();
  GetParam().make(header);
  Seal(header, kSeed);
  EXPECT_EQ(CheckHeader(header, kSeed, 3), GetParam().fault) << Name(CheckHeader(header, kSeed, 3));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, FrameDamage,
    ::testing::Values(
        Damage{"Magic", [](FrameHeader& h) { h.magic ^= 1; }, FrameFault::kMagic},
        Damage{"Version", [](FrameHeader& h) { h.version = 2; }, FrameFault::kVersion},
        Damage{"OpZero", [](FrameHeader& h) { h.op = FrameOp{0}; }, FrameFault::kOp},
        Damage{"OpBeyondTheLast", [](FrameHeader& h) { h.op = FrameOp{11}; }, FrameFault::kOp},
        Damage{"FlagTwo", [](FrameHeader& h) { h.flags |= 2; }, FrameFault::kFlags},
        Damage{"FlagHigh", [](FrameHeader& h) { h.flags |= 0x8000; }, FrameFault::kFlags},
        Damage{"LengthBeyondTheLimit", [](FrameHeader& h) { h.length = kMaxMessageBytes + 1; }, FrameFault::kLength},
        Damage{"HelloTooLong", [](FrameHeader& h) { h = {.length = kMaxHelloBytes + 1, .sequence = 3}; }, FrameFault::kLength},
        Damage{"AckWithPayload", [](FrameHeader& h) { h = {.op = FrameOp::kAck, .length = 1, .sequence = 3}; }, FrameFault::kLength},
        Damage{"KeyInASend", [](FrameHeader& h) { h = {.op = FrameOp::kSend, .key = 1, .sequence = 3}; }, FrameFault::kUnusedField},
        Damage{"AddressInASend", [](FrameHeader& h) { h = {.op = FrameOp::kSend, .address = 1, .sequence = 3}; }, FrameFault::kUnusedField},
        Damage{"ImmInAWrite", [](FrameHeader& h) { h.op = FrameOp::kWrite; }, FrameFault::kUnusedField},
        Damage{"NakStatusZero", [](FrameHeader& h) { h = {.op = FrameOp::kNak, .sequence = 3}; }, FrameFault::kStatus},
        Damage{"NakStatusNine", [](FrameHeader& h) { h = {.op = FrameOp::kNak, .key = 9, .sequence = 3}; }, FrameFault::kStatus},
        Damage{"SequenceSkipped", [](FrameHeader& h) { h.sequence = 4; }, FrameFault::kSequence},
        Damage{"SequenceRepeated", [](FrameHeader& h) { h.sequence = 2; }, FrameFault::kSequence}),
    [](const auto& param) { return param.param.name; });

TEST(Frame, EveryFlippedBitIsRefused) {
  for (std::size_t bit = 0; bit < 40 * 8; ++bit) {
    FrameHeader header = Example();
    Seal(header, kSeed);
    unsigned char bytes[40];
    std::memcpy(bytes, &header, sizeof(bytes));
    bytes[bit / 8] = static_cast<unsigned char>(bytes[bit / 8] ^ (1u << (bit % 8)));
    std::memcpy(&header, bytes, sizeof(bytes));
    EXPECT_NE(CheckHeader(header, kSeed, 3), FrameFault::kNone) << "bit " << bit;
  }
}

TEST(Frame, AnotherConnectionEpochIsAWrongChecksum) {
  FrameHeader header = Example();
  Seal(header, kSeed);
  EXPECT_EQ(CheckHeader(header, kSeed + 1, 3), FrameFault::kChecksum);
}

}  // namespace
}  // namespace ashlar::fabric::tcp
