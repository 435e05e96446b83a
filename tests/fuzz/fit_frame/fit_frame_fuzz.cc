// A peer's arena, immediate and expectations are all the fuzzer's: nothing may be read or written outside, and what is
// accepted keeps its promises.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/base/check.h"
#include "common/fit/handshake.h"
#include "common/fit/validate.h"

using namespace ashlar;
using namespace ashlar::fit;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  struct Control {
    std::uint32_t imm, byte_len;
    std::uint8_t is_request, slots, bulk_slots, open, seal;
    std::uint8_t padding[3];
    std::uint64_t sequence;
  } control;
  if (size < sizeof(control)) return 0;
  std::memcpy(&control, data, sizeof(control));
  std::span<const std::byte> rest = std::as_bytes(std::span(data, size)).subspan(sizeof(control));

  wire::ArenaShape shape{std::max<std::uint32_t>(control.slots % 65, 1), 0};
  shape.bulk_slots = control.bulk_slots % (shape.slots + 1);
  static std::vector<std::byte> arena;
  arena.assign(shape.SlotOffset(shape.slots), std::byte{0});  // bulk is never looked at
  std::uint64_t at = shape.SlotOffset(wire::ImmSlot(control.imm) % shape.slots);
  std::copy_n(rest.begin(), std::min<std::size_t>(rest.size(), wire::ArenaShape::kSlotStride), arena.begin() + static_cast<std::ptrdiff_t>(at));
  wire::Header header;
  std::memcpy(&header, arena.data() + at, sizeof(header));
  if (control.seal % 2 != 0) {  // past the checksum
    std::uint32_t payload = std::min<std::uint32_t>(header.payload_bytes, wire::kMaxPayloadBytes);
    SealHeader(header, std::span(arena).subspan(at + sizeof(header), payload));
    std::memcpy(arena.data() + at, &header, sizeof(header));
  }

  std::vector<SlotExpectation> slots(shape.slots, {control.sequence, header.opcode, control.open % 2 != 0});
  FrameContext context{.kind = control.is_request % 2 != 0 ? wire::Kind::kRequest : wire::Kind::kReply,
                       .connection_epoch = header.connection_epoch, .peer_incarnation = header.sender_incarnation,
                       .shape = shape, .slots = slots};
  Frame frame;
  std::vector<std::byte> payload(wire::kMaxPayloadBytes);
  if (ValidateFrame(context, control.imm, control.byte_len, arena, frame, payload) == Verdict::kAccept) {
    ASHLAR_CHECK(frame.slot < shape.slots && frame.header.payload_bytes <= wire::kMaxPayloadBytes);
    ASHLAR_CHECK(frame.header.bulk_bytes == 0 || frame.slot < shape.bulk_slots);
    ASHLAR_CHECK(FindOpcode(frame.header.opcode) != nullptr);
  }
  (void)ValidateControl(control.imm, control.byte_len, shape.slots, control.open % 2 != 0);
  wire::ArenaHello hello;
  (void)ValidateArenaHello({header.connection_epoch, control.sequence, header.sender_incarnation}, rest.first(std::min<std::size_t>(rest.size(), 64)), hello);
  (void)ParseHello(rest.first(std::min<std::size_t>(rest.size(), 56)));
  return 0;
}
