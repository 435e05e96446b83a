// What the accepting side's answer carries in rdma_cm's private data, little-endian; and the message that stands in for an
// immediate where the device has none. The request carries the 56-byte hello alone: there is no room for more, so a
// shorter hello arrives with zeros behind it.
//
// answer:    0 u32 magic 0x42525641 "AVRB" · 4 u8 version 1 · 5 u8 hello bytes · 6 u16 0 · 8 u32 epoch_seed ·
//            12 16 bytes mark, random per connection · 28 hello
// immediate: 0 16 bytes mark · 16 u32 imm · 20 u32 bytes written · 24 u64 0      (a SEND behind the WRITE)
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/statusor.h"
#include "common/fabric/contract.h"
#include "common/fabric/endpoint.h"

namespace ashlar::fabric::verbs {

using Mark = std::array<std::byte, 16>;

constexpr std::size_t kAnswerHeadBytes = 28;
struct Answer {
  std::uint32_t epoch_seed = 0;
  Mark mark{};
  std::span<const std::byte> hello;  // in the bytes that were parsed
};
using AnswerBytes = std::array<std::byte, kAnswerHeadBytes + kMaxHelloBytes>;
AnswerBytes EncodeAnswer(const Answer& answer);
// `bytes` are the peer's, possibly with zeros behind them.
absl::StatusOr<Answer> ParseAnswer(std::span<const std::byte> bytes);

struct Immediate {
  std::uint32_t imm = 0;
  std::uint32_t bytes_written = 0;
};
using ImmediateBytes = std::array<std::byte, kMinReceiveBytes>;
ImmediateBytes EncodeImmediate(const Mark& mark, const Immediate& immediate);
// nullopt: a message like any other.
std::optional<Immediate> ParseImmediate(const Mark& mark, std::span<const std::byte> message);

}  // namespace ashlar::fabric::verbs
