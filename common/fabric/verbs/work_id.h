// The 64 bits a work request carries through the NIC: which endpoint, which side, which request. Only the low bits of a
// number that grows are kept; Restore finds the rest again, and a number that is not current finds nothing.
#pragma once

#include <cstdint>
#include <optional>

#include "common/fabric/contract.h"
#include "common/fabric/ledger.h"

namespace ashlar::fabric::verbs {

struct WorkId {
  std::uint32_t endpoint = 0;  // low 31 bits of the EndpointId
  Ledger::Side side = Ledger::Side::kSend;
  std::uint32_t number = 0;  // low 32 bits: of the send queue's count, or of the receive's place in the ledger
  friend constexpr bool operator==(const WorkId&, const WorkId&) = default;
};

constexpr std::uint32_t EndpointBits(EndpointId id) { return static_cast<std::uint32_t>(id.value() & 0x7FFF'FFFF); }

constexpr std::uint64_t Pack(const WorkId& id) {
  return (id.side == Ledger::Side::kReceive ? std::uint64_t{1} << 63 : 0) | std::uint64_t{id.endpoint} << 32 | id.number;
}
constexpr WorkId Unpack(std::uint64_t bits) {
  return {.endpoint = static_cast<std::uint32_t>(bits >> 32 & 0x7FFF'FFFF),
          .side = bits >> 63 != 0 ? Ledger::Side::kReceive : Ledger::Side::kSend,
          .number = static_cast<std::uint32_t>(bits)};
}

// The number in [begin, end) whose low 32 bits these are; nullopt: none is. end - begin < 2^32.
constexpr std::optional<std::uint64_t> Restore(std::uint32_t low, std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t whole = begin + static_cast<std::uint32_t>(low - static_cast<std::uint32_t>(begin));
  if (whole >= end) return std::nullopt;
  return whole;
}

}  // namespace ashlar::fabric::verbs
