// Decides whether an arrived frame may be believed, before any number in it is used as an index, length or enum. Pure
// functions over bytes; fuzzed by tests/fuzz/fit_frame. The order is: kind → flags → slot → slot state → generation →
// header copied out once → magic, version → header CRC → epoch → incarnation → slot equal → sequence → length → limits
// → opcode → budget → payload CRC. Stale frames are dropped; anything else wrong costs the sender its connection.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "common/fit/opcodes.h"
#include "common/fit/wire.h"

namespace ashlar::fit {

enum class Verdict : std::uint8_t {
  kAccept,
  kUnknownOpcode,  // requests: well formed, to be answered so
  kStale,          // late, harmless: dropped
  // From here on: reject, with the reason.
  kBadKind, kBadFlags, kBadSlot, kBadState, kBadGeneration, kBadMagic, kBadVersion, kBadHeaderCrc, kBadEpoch,
  kBadIncarnation, kSlotMismatch, kBadSequence, kBadLength, kOverLimit, kBadOpcode, kBadBudget, kBadStatus, kBadPayloadCrc,
  kBadControl, kBadHello,
};
constexpr std::size_t kVerdictCount = static_cast<std::size_t>(Verdict::kBadHello) + 1;
std::string_view Name(Verdict verdict);
constexpr bool IsReject(Verdict verdict) { return verdict >= Verdict::kBadKind; }

// What one slot waits for. Client: the call in it. Server: the newest request begun in it.
struct SlotExpectation {
  std::uint64_t sequence = 0;  // 0 = never used
  std::uint16_t opcode = 0;    // client: a reply must repeat it
  bool open = false;           // client: a reply is awaited; server: a request may come
};

// What an endpoint knows about its peer's frames.
struct FrameContext {
  wire::Kind kind = wire::Kind::kInvalid;  // that this end takes: kRequest at the server, kReply at the client
  std::uint64_t connection_epoch = 0;
  std::uint64_t peer_incarnation = 0;
  wire::ArenaShape shape;  // of the arena that the frame was written into
  std::span<const SlotExpectation> slots;
};

// A frame in the arena, as the immediate announced it. `arena` can change under us (the peer may write any time), so the
// header is copied out before it is read, and so is the payload.
struct Frame {
  wire::Header header{};  // valid for kAccept and kUnknownOpcode
  std::uint32_t slot = 0;
};
// `payload` takes kMaxPayloadBytes at least; header.payload_bytes of it are filled on kAccept.
Verdict ValidateFrame(const FrameContext& context, std::uint32_t imm, std::uint32_t byte_len,
                      std::span<const std::byte> arena, Frame& frame, std::span<std::byte> payload);

// Kind 3. `from_client`: which end sent it.
Verdict ValidateControl(std::uint32_t imm, std::uint32_t byte_len, std::uint32_t slots, bool from_client);

struct PeerIdentity {
  std::uint64_t connection_epoch = 0;
  std::uint64_t node_id = 0;
  std::uint64_t incarnation = 0;
};
// kAccept or kBadHello.
Verdict ValidateArenaHello(const PeerIdentity& peer, std::span<const std::byte> bytes, wire::ArenaHello& hello);

// Fills magic, version and both CRCs of a header that is about to be sent.
void SealHeader(wire::Header& header, std::span<const std::byte> payload);
void SealArenaHello(wire::ArenaHello& hello);

}  // namespace ashlar::fit
