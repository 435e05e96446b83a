#include "common/fit/opcodes.h"

#include <array>

#include "common/base/check.h"
#include "common/fit/wire.h"

namespace ashlar::fit {
namespace {

using enum wire::Opcode;
using enum RetryClass;
constexpr std::uint32_t kBulk = wire::kBulkBytes;
constexpr std::uint32_t kSmall = 64;  // a ListReply or FenceReply, with room
constexpr std::uint32_t kFull = wire::kMaxPayloadBytes;

template <typename Fixed, typename Item>
constexpr std::uint32_t List(std::uint32_t items) {
  return static_cast<std::uint32_t>(sizeof(Fixed) + items * sizeof(Item));
}
constexpr std::uint32_t kPages = wire::kMaxPagesPerCall;
constexpr std::uint32_t kState = sizeof(wire::SpaceStateReply) + wire::kMaxSnodeRefs * sizeof(wire::SnodeRef) +
                                 wire::kMaxBadPages * sizeof(wire::BadPage);

// clang-format off
constexpr OpcodeInfo kTable[] = {
    // opcode        name             retry         request payload                                        reply payload                                 bulk→  bulk←  write  cacheable
    {kMapExtents,   "map_extents",   kIdempotent,  sizeof(wire::MapRequest),                              List<wire::MapReply, wire::ExtentGrant>(64),  0,     0,     false, false},  // its keys die with the endpoint
    {kUnmapExtents, "unmap_extents", kAtMostOnce,  List<wire::SpaceList, wire::u64>(64),                  kSmall,                                       0,     0,     false, true},
    {kFetchPages,   "fetch_pages",   kIdempotent,  List<wire::SpaceList, wire::PageWant>(kPages),         List<wire::ListReply, wire::PageHave>(kPages), 0,    kBulk, false, false},
    {kWriteBack,    "write_back",    kIdempotent,  List<wire::SpaceList, wire::PageDirty>(kPages),        kFull,                                        kBulk, 0,     true,  true},
    {kDestroySpace, "destroy_space", kIdempotent,  sizeof(wire::SpaceList),                               kSmall,                                       0,     0,     false, true},
    {kTrim,         "trim",          kIdempotent,  List<wire::SpaceList, wire::TrimRange>(wire::kMaxTrimRanges), kSmall,                                0,     0,     false, true},
    {kAppendPages,  "append_pages",  kIdempotent,  List<wire::AppendHead, wire::PageAppend>(kPages),      kFull,                                        kBulk, 0,     true,  true},
    {kFenceEpoch,   "fence_epoch",   kIdempotent,  sizeof(wire::FenceRequest),                            kSmall,                                       0,     0,     false, true},
    {kRecoverRead,  "recover_read",  kIdempotent,  List<wire::RecoverRequest, wire::u64>(kPages),         List<wire::ListReply, wire::PageHave>(kPages), 0,    kBulk, false, false},
    {kOpenSpace,    "open_space",    kIdempotent,  List<wire::OpenRequest, wire::SnodeRef>(wire::kMaxSnodeRefs), kSmall,                                0,     0,     false, true},
    {kCompare,      "compare",       kIdempotent,  sizeof(wire::CompareRequest),                          List<wire::ListReply, wire::PageMark>(wire::kMaxMarks), 0, 0, false, true},
    {kSpaceState,   "space_state",   kIdempotent,  sizeof(wire::SpaceList),                               kState,                                       0,     0,     false, true},
};
// clang-format on

constexpr auto kByNumber = [] {
  std::array<const OpcodeInfo*, kOpcodeEnd> table{};
  for (const OpcodeInfo& info : kTable) table[static_cast<std::size_t>(info.opcode)] = &info;
  return table;
}();

}  // namespace

const OpcodeInfo* FindOpcode(std::uint16_t opcode) { return opcode < kOpcodeEnd ? kByNumber[opcode] : nullptr; }
const OpcodeInfo* FindOpcode(wire::Opcode opcode) { return FindOpcode(static_cast<std::uint16_t>(opcode)); }

RetryClass RetryClassOf(wire::Opcode opcode) {
  const OpcodeInfo* info = FindOpcode(opcode);
  ASHLAR_CHECK(info != nullptr, "an opcode without an entry in the table; opcode={}", static_cast<int>(opcode));
  return info->retry;
}

}  // namespace ashlar::fit
