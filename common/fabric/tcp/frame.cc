#include "common/fabric/tcp/frame.h"

#include <bit>
#include <span>

#include "common/base/crc32c.h"

namespace ashlar::fabric::tcp {
namespace {

static_assert(std::endian::native == std::endian::little, "the wire is little-endian");

std::uint32_t Checksum(const FrameHeader& header, std::uint32_t seed) {
  return Crc32c(std::as_bytes(std::span(&header, 1)).first(offsetof(FrameHeader, checksum)), seed);
}

bool NamesWindow(FrameOp op) { return op == FrameOp::kWrite || op == FrameOp::kWriteWithImm || op == FrameOp::kRead; }

std::uint32_t MaxLength(FrameOp op) {
  switch (op) {
    case FrameOp::kHello:
    case FrameOp::kHelloAck: return kMaxHelloBytes;
    case FrameOp::kSend:
    case FrameOp::kWrite:
    case FrameOp::kWriteWithImm:
    case FrameOp::kRead:
    case FrameOp::kReadResponse: return kMaxMessageBytes;
    case FrameOp::kAck:
    case FrameOp::kNak:
    case FrameOp::kBye: return 0;
  }
  return 0;
}

}  // namespace

void Seal(FrameHeader& header, std::uint32_t seed) { header.checksum = Checksum(header, seed); }

FrameFault CheckHeader(const FrameHeader& header, std::uint32_t seed, std::uint32_t expected_sequence) {
  if (header.magic != kFrameMagic) return FrameFault::kMagic;
  if (header.version != kFrameVersion) return FrameFault::kVersion;
  if (header.checksum != Checksum(header, seed)) return FrameFault::kChecksum;
  const FrameOp op = header.op;
  if (op < FrameOp::kHello || op > FrameOp::kBye) return FrameFault::kOp;
  if ((header.flags & ~(kFlagSolicited | kFlagAckWanted)) != 0) return FrameFault::kFlags;
  if (header.length > MaxLength(op)) return FrameFault::kLength;
  if (!NamesWindow(op) && header.address != 0) return FrameFault::kUnusedField;
  if (!NamesWindow(op) && op != FrameOp::kNak && header.key != 0) return FrameFault::kUnusedField;
  const bool has_imm = op == FrameOp::kWriteWithImm || op == FrameOp::kReadResponse || op == FrameOp::kNak;
  if (!has_imm && header.imm != 0) return FrameFault::kUnusedField;
  if (op == FrameOp::kNak && (header.key < static_cast<std::uint32_t>(Status::kFlushed) ||
                              header.key > static_cast<std::uint32_t>(Status::kFatal))) {
    return FrameFault::kStatus;
  }
  if (header.sequence != expected_sequence) return FrameFault::kSequence;
  return FrameFault::kNone;
}

std::string_view Name(FrameOp op) {
  switch (op) {
    case FrameOp::kHello: return "HELLO";
    case FrameOp::kHelloAck: return "HELLO_ACK";
    case FrameOp::kSend: return "SEND";
    case FrameOp::kWrite: return "WRITE";
    case FrameOp::kWriteWithImm: return "WRITE_WITH_IMM";
    case FrameOp::kRead: return "READ";
    case FrameOp::kReadResponse: return "READ_RESPONSE";
    case FrameOp::kAck: return "ACK";
    case FrameOp::kNak: return "NAK";
    case FrameOp::kBye: return "BYE";
  }
  return "unknown";
}

std::string_view Name(FrameFault fault) {
  switch (fault) {
    case FrameFault::kNone: return "nothing";
    case FrameFault::kMagic: return "wrong magic";
    case FrameFault::kVersion: return "unknown version";
    case FrameFault::kChecksum: return "wrong checksum (damaged, or of another connection epoch)";
    case FrameFault::kOp: return "unknown op";
    case FrameFault::kFlags: return "unknown flag";
    case FrameFault::kLength: return "length beyond the limit";
    case FrameFault::kUnusedField: return "a field this op does not have is set";
    case FrameFault::kStatus: return "unknown status";
    case FrameFault::kSequence: return "sequence out of order";
  }
  return "unknown";
}

}  // namespace ashlar::fabric::tcp
