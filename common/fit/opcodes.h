// The one table of what each opcode may carry, and who may repeat it.
#pragma once

#include <cstdint>
#include <string_view>

#include "common/fit/call.h"
#include "common/fit/messages.h"

namespace ashlar::fit {

struct OpcodeInfo {
  wire::Opcode opcode;
  std::string_view name;
  RetryClass retry;
  std::uint32_t max_request_payload;
  std::uint32_t max_reply_payload;
  std::uint32_t max_request_bulk;
  std::uint32_t max_reply_bulk;
  bool is_write;   // waits for a disk or a copy: kept from taking every slot
  bool cacheable;  // a repeat may be answered with the first answer (never one that had bulk)
};

constexpr std::size_t kOpcodeEnd = 14;  // one past the largest

// nullptr: no such opcode here.
const OpcodeInfo* FindOpcode(std::uint16_t opcode);
const OpcodeInfo* FindOpcode(wire::Opcode opcode);

}  // namespace ashlar::fit
