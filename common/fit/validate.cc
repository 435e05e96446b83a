#include "common/fit/validate.h"

#include <cstring>

#include "common/base/crc32c.h"
#include "common/fit/call.h"

namespace ashlar::fit {
namespace {

constexpr std::uint16_t kLastCode = static_cast<std::uint16_t>(Code::kSuperseded);

template <typename T>
std::uint32_t CrcBeforeLastWord(const T& value) {
  return Crc32c(std::as_bytes(std::span(&value, 1)).first(sizeof(T) - sizeof(std::uint32_t)));
}

// Generations wrap at 4096: less than half a turn behind is old.
bool IsOlderGeneration(std::uint32_t generation, std::uint64_t sequence) {
  std::uint32_t behind = (static_cast<std::uint32_t>(sequence) - generation) & 0xFFF;
  return behind >= 1 && behind < 2048;
}

Verdict CheckImm(const FrameContext& context, std::uint32_t imm) {
  if (wire::ImmKind(imm) != context.kind) return Verdict::kBadKind;
  if ((wire::ImmFlags(imm) & ~wire::kImmBulk) != 0) return Verdict::kBadFlags;
  std::uint32_t slot = wire::ImmSlot(imm);
  if (slot >= context.shape.slots || slot >= context.slots.size()) return Verdict::kBadSlot;
  const SlotExpectation& expected = context.slots[slot];
  if (context.kind == wire::Kind::kRequest) return expected.open ? Verdict::kAccept : Verdict::kBadState;
  // A reply nobody waits for any more is late; one for a slot never used is made up.
  if (expected.sequence == 0) return Verdict::kBadState;
  if (IsOlderGeneration(wire::ImmGeneration(imm), expected.sequence)) return Verdict::kStale;
  if (wire::ImmGeneration(imm) != (expected.sequence & 0xFFF)) return Verdict::kBadGeneration;
  return expected.open ? Verdict::kAccept : Verdict::kStale;
}

Verdict CheckIdentity(const FrameContext& context, std::uint32_t imm, const wire::Header& header) {
  if (header.magic != wire::kMagic) return Verdict::kBadMagic;
  if (header.version != wire::kVersion) return Verdict::kBadVersion;
  if (header.header_crc != CrcBeforeLastWord(header)) return Verdict::kBadHeaderCrc;
  if (header.connection_epoch != context.connection_epoch) return Verdict::kBadEpoch;
  if (header.sender_incarnation != context.peer_incarnation) return Verdict::kBadIncarnation;
  if (header.slot != wire::ImmSlot(imm)) return Verdict::kSlotMismatch;
  if ((header.sequence & 0xFFF) != wire::ImmGeneration(imm)) return Verdict::kBadGeneration;
  const SlotExpectation& expected = context.slots[header.slot];
  if (header.sequence < expected.sequence) return Verdict::kStale;
  if (context.kind == wire::Kind::kReply && header.sequence != expected.sequence) return Verdict::kBadSequence;
  if (header.sequence == 0) return Verdict::kBadSequence;
  return Verdict::kAccept;
}

Verdict CheckContent(const FrameContext& context, std::uint32_t imm, std::uint32_t byte_len, const wire::Header& header) {
  bool is_request = context.kind == wire::Kind::kRequest;
  if (header.payload_bytes > wire::kMaxPayloadBytes || sizeof(header) + header.payload_bytes != byte_len)
    return Verdict::kBadLength;
  if (header.bulk_bytes > wire::kBulkBytes || header.bulk_bytes % kPageBytes != 0) return Verdict::kBadLength;
  bool says_bulk = (wire::ImmFlags(imm) & wire::kImmBulk) != 0;
  if (says_bulk != (header.bulk_bytes != 0)) return Verdict::kBadFlags;
  if (says_bulk && header.slot >= context.shape.bulk_slots) return Verdict::kOverLimit;
  std::uint16_t allowed = wire::kPayloadCrc | (is_request ? wire::kResend : wire::kFromCache);
  if ((header.flags & ~allowed) != 0) return Verdict::kBadFlags;

  if (is_request && (header.status != 0 || header.hints != 0)) return Verdict::kBadStatus;
  if (!is_request && header.status > kLastCode) return Verdict::kBadStatus;
  if (!is_request && header.opcode != context.slots[header.slot].opcode) return Verdict::kBadOpcode;
  const OpcodeInfo* info = FindOpcode(header.opcode);
  if (info != nullptr) {
    if (header.payload_bytes > (is_request ? info->max_request_payload : info->max_reply_payload)) return Verdict::kOverLimit;
    if (header.bulk_bytes > (is_request ? info->max_request_bulk : info->max_reply_bulk)) return Verdict::kOverLimit;
  }
  if (is_request && header.time_us == 0) return Verdict::kBadBudget;
  return info != nullptr ? Verdict::kAccept : Verdict::kUnknownOpcode;
}

}  // namespace

Verdict ValidateFrame(const FrameContext& context, std::uint32_t imm, std::uint32_t byte_len,
                      std::span<const std::byte> arena, Frame& frame, std::span<std::byte> payload) {
  if (Verdict verdict = CheckImm(context, imm); verdict != Verdict::kAccept) return verdict;
  frame.slot = wire::ImmSlot(imm);
  std::uint64_t offset = context.shape.SlotOffset(frame.slot);
  if (offset + wire::ArenaShape::kSlotStride > arena.size()) return Verdict::kBadSlot;
  std::memcpy(&frame.header, arena.data() + offset, sizeof(frame.header));
  if (Verdict verdict = CheckIdentity(context, imm, frame.header); verdict != Verdict::kAccept) return verdict;
  Verdict verdict = CheckContent(context, imm, byte_len, frame.header);
  if (IsReject(verdict)) return verdict;
  std::span<std::byte> copy = payload.first(frame.header.payload_bytes);
  if (!copy.empty()) std::memcpy(copy.data(), arena.data() + offset + sizeof(wire::Header), copy.size());
  if ((frame.header.flags & wire::kPayloadCrc) != 0 && Crc32c(copy) != frame.header.payload_crc)
    return Verdict::kBadPayloadCrc;
  return verdict;
}

Verdict ValidateControl(std::uint32_t imm, std::uint32_t byte_len, std::uint32_t slots, bool from_client) {
  if (wire::ImmKind(imm) != wire::Kind::kControl) return Verdict::kBadKind;
  if (byte_len != 0) return Verdict::kBadLength;
  std::uint32_t code = wire::ImmFlags(imm);
  if (code == (from_client ? wire::kCancel : wire::kCancelAck))
    return wire::ImmSlot(imm) < slots ? Verdict::kAccept : Verdict::kBadSlot;
  if (code == (from_client ? wire::kKeepAlive : wire::kKeepAliveAnswer))
    return wire::ImmSlot(imm) == 0 && wire::ImmGeneration(imm) == 0 ? Verdict::kAccept : Verdict::kBadControl;
  return Verdict::kBadControl;
}

Verdict ValidateArenaHello(const PeerIdentity& peer, std::span<const std::byte> bytes, wire::ArenaHello& hello) {
  if (bytes.size() != sizeof(hello)) return Verdict::kBadHello;
  std::memcpy(&hello, bytes.data(), sizeof(hello));
  bool good = hello.magic == wire::kMagic && hello.version == wire::kVersion && hello.crc == CrcBeforeLastWord(hello) &&
              hello.connection_epoch == peer.connection_epoch && hello.node_id == peer.node_id &&
              hello.incarnation == peer.incarnation && hello.slots >= 1 && hello.slots <= wire::kMaxSlots &&
              hello.bulk_slots <= hello.slots && hello.bulk_pages == wire::kBulkPages &&
              hello.arena_bytes == wire::ArenaShape{hello.slots, hello.bulk_slots}.Bytes();
  return good ? Verdict::kAccept : Verdict::kBadHello;
}

void SealHeader(wire::Header& header, std::span<const std::byte> payload) {
  header.magic = wire::kMagic;
  header.version = wire::kVersion;
  header.flags |= wire::kPayloadCrc;
  header.payload_crc = Crc32c(payload);
  header.header_crc = CrcBeforeLastWord(header);
}

void SealArenaHello(wire::ArenaHello& hello) {
  hello.magic = wire::kMagic;
  hello.version = wire::kVersion;
  hello.crc = CrcBeforeLastWord(hello);
}

std::string_view Name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kAccept: return "accept";
    case Verdict::kUnknownOpcode: return "unknown_opcode";
    case Verdict::kStale: return "stale";
    case Verdict::kBadKind: return "kind";
    case Verdict::kBadFlags: return "flags";
    case Verdict::kBadSlot: return "slot";
    case Verdict::kBadState: return "slot_state";
    case Verdict::kBadGeneration: return "generation";
    case Verdict::kBadMagic: return "magic";
    case Verdict::kBadVersion: return "version";
    case Verdict::kBadHeaderCrc: return "header_crc";
    case Verdict::kBadEpoch: return "epoch";
    case Verdict::kBadIncarnation: return "incarnation";
    case Verdict::kSlotMismatch: return "slot_mismatch";
    case Verdict::kBadSequence: return "sequence";
    case Verdict::kBadLength: return "length";
    case Verdict::kOverLimit: return "over_limit";
    case Verdict::kBadOpcode: return "opcode";
    case Verdict::kBadBudget: return "budget";
    case Verdict::kBadStatus: return "status";
    case Verdict::kBadPayloadCrc: return "payload_crc";
    case Verdict::kBadControl: return "control";
    case Verdict::kBadHello: return "arena_hello";
  }
  return "?";
}

}  // namespace ashlar::fit
