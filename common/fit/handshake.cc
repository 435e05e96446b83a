#include "common/fit/handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <sys/random.h>

#include <cerrno>
#include <cstring>

#include "common/base/check.h"

namespace ashlar::fit {
namespace {

std::array<unsigned char, 16> Mac(const Token& token, const wire::Hello& hello) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  const void* done = HMAC(EVP_sha256(), token.data(), static_cast<int>(token.size()),
                          reinterpret_cast<const unsigned char*>(&hello), offsetof(wire::Hello, mac), digest, &length);
  ASHLAR_CHECK(done != nullptr && length == 32, "HMAC-SHA256 is part of every OpenSSL; length={}", length);
  std::array<unsigned char, 16> cut;
  std::memcpy(cut.data(), digest, cut.size());
  return cut;
}

void Seal(const Token& token, wire::Hello& hello) {
  auto mac = Mac(token, hello);
  std::memcpy(hello.mac, mac.data(), mac.size());
}

}  // namespace

void FillRandom(std::span<std::byte> out) {
  while (!out.empty()) {
    ssize_t got = ::getrandom(out.data(), out.size(), 0);
    ASHLAR_CHECK(got > 0 || errno == EINTR, "getrandom cannot fail once the machine is up; errno={}", errno);
    if (got > 0) out = out.subspan(static_cast<std::size_t>(got));
  }
}

wire::Hello MakeHello(const Token& token, const HelloFields& fields) {
  wire::Hello hello{.magic = wire::kHelloMagic, .version = wire::kVersion, .backend = 0, .shard = fields.shard,
                    .slots = fields.slots, .token_id = fields.token_id, .connection_epoch = fields.connection_epoch,
                    .nonce = {}, .mac = {}};
  FillRandom(std::as_writable_bytes(std::span(hello.nonce)));
  Seal(token, hello);
  return hello;
}

std::optional<wire::Hello> ParseHello(std::span<const std::byte> bytes) {
  wire::Hello hello;
  if (bytes.size() != sizeof(hello)) return std::nullopt;
  std::memcpy(&hello, bytes.data(), sizeof(hello));
  if (hello.magic != wire::kHelloMagic || hello.version != wire::kVersion) return std::nullopt;
  if (hello.slots == 0 || hello.slots > wire::kMaxSlots) return std::nullopt;
  return hello;
}

bool IsProved(const Token& token, const wire::Hello& hello) {
  auto mac = Mac(token, hello);
  return CRYPTO_memcmp(mac.data(), hello.mac, mac.size()) == 0;
}

wire::Hello MakeHelloAck(const Token& token, const wire::Hello& hello, std::uint16_t slots) {
  wire::Hello ack = hello;
  ack.magic = wire::kHelloAckMagic;
  ack.slots = slots;
  Seal(token, ack);
  return ack;
}

absl::Status CheckHelloAck(const Token& token, const wire::Hello& sent, std::span<const std::byte> bytes) {
  wire::Hello ack;
  if (bytes.size() != sizeof(ack)) return absl::UnauthenticatedError("fit: the server's hello has the wrong size");
  std::memcpy(&ack, bytes.data(), sizeof(ack));
  bool answers = ack.magic == wire::kHelloAckMagic && ack.version == wire::kVersion && ack.token_id == sent.token_id &&
                 ack.connection_epoch == sent.connection_epoch &&
                 CRYPTO_memcmp(ack.nonce, sent.nonce, sizeof(ack.nonce)) == 0;
  if (!answers || !IsProved(token, ack))
    return absl::UnauthenticatedError("fit: what listens there does not hold the link's token; is the address right?");
  return absl::OkStatus();
}

}  // namespace ashlar::fit
