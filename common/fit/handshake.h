// How two ends prove to each other that they hold the token of a link. The token never crosses the fabric, only MACs
// made with it; the client's nonce makes the server's answer fresh.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/fit/wire.h"

namespace ashlar::fit {

using Token = std::array<std::byte, 16>;

// From the kernel's generator.
void FillRandom(std::span<std::byte> out);

struct HelloFields {
  std::uint64_t token_id = 0;
  std::uint64_t connection_epoch = 0;
  std::uint16_t shard = 0;
  std::uint16_t slots = 0;
};
wire::Hello MakeHello(const Token& token, const HelloFields& fields);
// nullopt: not a hello of this version. Nothing in it is proved yet.
std::optional<wire::Hello> ParseHello(std::span<const std::byte> bytes);
// Constant time in the MAC.
bool IsProved(const Token& token, const wire::Hello& hello);

wire::Hello MakeHelloAck(const Token& token, const wire::Hello& hello, std::uint16_t slots);
// Unauthenticated: the other end does not hold the token; do not talk to it.
absl::Status CheckHelloAck(const Token& token, const wire::Hello& sent, std::span<const std::byte> bytes);

}  // namespace ashlar::fit
