// The frame of the tcp fabric: 40 bytes, little-endian, then `length` bytes of payload if the op has one. Format, example
// with offsets and what a broken frame costs: common/fabric/README.md.
//
// Pure functions over bytes; nothing here knows a socket. A header is copied out of the stream before it is looked at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "common/fabric/contract.h"

namespace ashlar::fabric::tcp {

enum class FrameOp : std::uint8_t {
  kHello = 1, kHelloAck, kSend, kWrite, kWriteWithImm, kRead, kReadResponse, kAck, kNak, kBye
};
std::string_view Name(FrameOp op);

constexpr std::uint32_t kFrameMagic = 0x46485341;  // "ASHF"
constexpr std::uint8_t kFrameVersion = 1;
constexpr std::uint16_t kFlagSolicited = 1;
constexpr std::uint16_t kFlagAckWanted = 4;  // the sender's ledger fills up: acknowledge without waiting for a frame
constexpr std::uint32_t kMaxMessageBytes = 1u << 20;

struct FrameHeader {
  std::uint32_t magic = kFrameMagic;      //  0
  std::uint8_t version = kFrameVersion;   //  4
  FrameOp op = FrameOp::kHello;           //  5
  std::uint16_t flags = 0;                //  6
  std::uint32_t length = 0;               //  8  payload bytes; kRead: bytes asked for
  std::uint32_t key = 0;                  // 12  kWrite*, kRead: the window; kNak: fabric::Status
  std::uint64_t address = 0;              // 16  kWrite*, kRead
  std::uint32_t imm = 0;                  // 24  kWriteWithImm; kReadResponse, kNak: the sequence it answers
  std::uint32_t sequence = 0;             // 28  + 1 per frame and direction, from 1
  std::uint32_t ack = 0;                  // 32  highest sequence placed here, all before it too
  std::uint32_t checksum = 0;             // 36  CRC32C of bytes 0–35, seeded
};
static_assert(sizeof(FrameHeader) == 40 && offsetof(FrameHeader, address) == 16 && offsetof(FrameHeader, checksum) == 36);

// Seed of a HELLO; every other frame is seeded with EndpointOptions::epoch_seed.
constexpr std::uint32_t kHelloSeed = 0;

void Seal(FrameHeader& header, std::uint32_t seed);

enum class FrameFault : std::uint8_t { kNone, kMagic, kVersion, kChecksum, kOp, kFlags, kLength, kUnusedField, kStatus, kSequence };
std::string_view Name(FrameFault fault);

// All that can be said of a header without knowing the connection's windows and requests.
FrameFault CheckHeader(const FrameHeader& header, std::uint32_t seed, std::uint32_t expected_sequence);

// Bytes that follow a valid header.
inline std::uint32_t PayloadBytes(const FrameHeader& header) { return header.op == FrameOp::kRead ? 0 : header.length; }

}  // namespace ashlar::fabric::tcp
