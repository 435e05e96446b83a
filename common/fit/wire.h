// The bytes of FIT v2: header, hellos, immediates and the arena's geometry. All little-endian, naturally aligned, no
// padding; golden bytes stand in tests/unit/common/fit/wire_test.cc, a worked example in README.md.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/ids.h"
#include "common/fit/messages.h"

namespace ashlar::fit::wire {

constexpr u32 kMagic = 0x32544946;  // "FIT2"
constexpr u16 kVersion = 2;
constexpr u32 kMaxPayloadBytes = 4096;
constexpr u32 kBulkPages = 64;
constexpr u32 kBulkBytes = kBulkPages * static_cast<u32>(kPageBytes);  // 256 KiB
constexpr u32 kMaxSlots = 1024;                                        // ten bits of the immediate
constexpr u32 kMaxBudgetUs = 60'000'000;

// In front of each request and each reply.
struct Header {
  u32 magic;               //  0  kMagic
  u16 version;             //  4  kVersion
  u16 opcode;              //  6  the reply repeats it
  u64 sequence;            //  8  of this slot; 1 = first call, never reused within a caller record
  u64 connection_epoch;    // 16
  u64 sender_incarnation;  // 24
  u32 slot;                // 32
  u32 payload_bytes;       // 36  <= 4096
  u32 bulk_bytes;          // 40  <= 262144, a multiple of 4096
  u32 time_us;             // 44  request: budget left, re-based on arrival, 0 refused; reply: time spent in the server
  u16 flags;               // 48  kResend, kPayloadCrc, kFromCache; others must be 0
  u16 status;              // 50  reply: fit::Code; request: 0
  u32 hints;               // 52  reply: kHint…, bits 8–15 write batches, 16–31 retry_after_ms; request: 0
  u32 payload_crc;         // 56  CRC32C of the payload
  u32 header_crc;          // 60  CRC32C of bytes 0–59
};
constexpr u16 kResend = 1, kPayloadCrc = 2, kFromCache = 4;
constexpr u32 kHintDegraded = 1, kHintDrain = 2, kHintPoolLow = 4, kHintAskState = 8;

// Connection set-up: verbs private data (its limit is 56 B), the first tcp frame, the first shm message. The answer has
// the same shape, another magic (so that a hello sent back is no answer), and repeats the asker's nonce.
struct Hello {
  u16 magic;             //  0  kHelloMagic, kHelloAckMagic
  u8 version;            //  2
  u8 backend;            //  3  0: not told
  u16 shard;             //  4  the client's
  u16 slots;             //  6  the sender's
  u64 token_id;          //  8
  u64 connection_epoch;  // 16
  u8 nonce[16];          // 24
  u8 mac[16];            // 40  HMAC-SHA256(token, bytes 0–39), cut to 16
};
constexpr u16 kHelloMagic = 0x4846;     // "FH"
constexpr u16 kHelloAckMagic = 0x4146;  // "FA"

// The first SEND of each side; slots before it are refused.
struct ArenaHello {
  u32 magic;             //  0  kMagic
  u16 version;           //  4  kVersion
  u16 slots;             //  6
  u64 connection_epoch;  //  8
  u64 node_id;           // 16
  u64 incarnation;       // 24
  u32 arena_key;         // 32
  u32 arena_bytes;       // 36
  u64 arena_base;        // 40
  u16 bulk_slots;        // 48
  u16 bulk_pages;        // 50  kBulkPages
  u32 caps;              // 52  0
  u32 reserved;          // 56  0
  u32 crc;               // 60  CRC32C of bytes 0–59
};

static_assert(sizeof(Header) == 64 && offsetof(Header, time_us) == 44 && offsetof(Header, header_crc) == 60);
static_assert(sizeof(Hello) == 56 && offsetof(Hello, mac) == 40);
static_assert(sizeof(ArenaHello) == 64 && offsetof(ArenaHello, bulk_slots) == 48 && offsetof(ArenaHello, crc) == 60);

// The immediate only says where to look: bits 31–30 kind, 29–20 slot, 19–8 generation (low 12 bits of the slot's
// sequence), 7–0 flags. Kind 0 is invalid, so are LegoOS's −1 and −30704.
enum class Kind : u8 { kInvalid = 0, kRequest = 1, kReply = 2, kControl = 3 };
constexpr u32 kImmBulk = 1;  // the one flag of kinds 1 and 2
// Flags of kind 3.
constexpr u32 kCancel = 1, kCancelAck = 2, kKeepAlive = 3, kKeepAliveAnswer = 4;

constexpr u32 Imm(Kind kind, u32 slot, u64 sequence, u32 flags) {
  return static_cast<u32>(kind) << 30 | slot << 20 | static_cast<u32>(sequence & 0xFFF) << 8 | flags;
}
constexpr Kind ImmKind(u32 imm) { return static_cast<Kind>(imm >> 30); }
constexpr u32 ImmSlot(u32 imm) { return imm >> 20 & 0x3FF; }
constexpr u32 ImmGeneration(u32 imm) { return imm >> 8 & 0xFFF; }
constexpr u32 ImmFlags(u32 imm) { return imm & 0xFF; }

// Where things lie in an arena: slots at a stride (header, payload, 64 spare), then page-aligned bulk buffers, which the
// first `bulk_slots` slots own.
struct ArenaShape {
  static constexpr u32 kSlotStride = 4224;
  u32 slots = 0;
  u32 bulk_slots = 0;

  constexpr u64 SlotOffset(u32 slot) const { return u64{slot} * kSlotStride; }
  constexpr u64 BulkBase() const { return (u64{slots} * kSlotStride + kPageBytes - 1) / kPageBytes * kPageBytes; }
  constexpr u64 BulkOffset(u32 slot) const { return BulkBase() + u64{slot} * kBulkBytes; }
  constexpr u64 Bytes() const { return BulkOffset(bulk_slots); }
};

}  // namespace ashlar::fit::wire
