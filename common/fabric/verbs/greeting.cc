#include "common/fabric/verbs/greeting.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace ashlar::fabric::verbs {
namespace {

constexpr std::uint32_t kMagic = 0x42525641;
constexpr std::uint8_t kVersion = 1;

struct AnswerHead {
  std::uint32_t magic = kMagic;
  std::uint8_t version = kVersion;
  std::uint8_t hello_bytes = 0;
  std::uint16_t reserved = 0;
  std::uint32_t epoch_seed = 0;
  Mark mark{};
};
static_assert(sizeof(AnswerHead) == kAnswerHeadBytes);

struct ImmediateMessage {
  Mark mark{};
  std::uint32_t imm = 0;
  std::uint32_t bytes_written = 0;
  std::uint64_t reserved = 0;
};
static_assert(sizeof(ImmediateMessage) == sizeof(ImmediateBytes));

}  // namespace

AnswerBytes EncodeAnswer(const Answer& answer) {
  ASHLAR_CHECK(answer.hello.size() <= kMaxHelloBytes, "the endpoint's set-up was checked; hello={}", answer.hello.size());
  const AnswerHead head{.hello_bytes = static_cast<std::uint8_t>(answer.hello.size()), .epoch_seed = answer.epoch_seed, .mark = answer.mark};
  AnswerBytes bytes{};
  std::memcpy(bytes.data(), &head, sizeof(head));
  std::ranges::copy(answer.hello, bytes.begin() + kAnswerHeadBytes);
  return bytes;
}

absl::StatusOr<Answer> ParseAnswer(std::span<const std::byte> bytes) {
  AnswerHead head;
  if (bytes.size() < sizeof(head)) return absl::UnavailableError(absl::StrCat("answered with ", bytes.size(), " bytes"));
  std::memcpy(&head, bytes.data(), sizeof(head));
  if (head.magic != kMagic || head.version != kVersion || head.reserved != 0) {
    return absl::UnavailableError(absl::StrCat("answered in another protocol: magic ", head.magic, " version ", head.version));
  }
  if (head.hello_bytes > kMaxHelloBytes || head.hello_bytes > bytes.size() - sizeof(head)) {
    return absl::UnavailableError(absl::StrCat("answered with a hello of ", head.hello_bytes, " bytes"));
  }
  return Answer{.epoch_seed = head.epoch_seed, .mark = head.mark, .hello = bytes.subspan(sizeof(head), head.hello_bytes)};
}

ImmediateBytes EncodeImmediate(const Mark& mark, const Immediate& immediate) {
  const ImmediateMessage message{.mark = mark, .imm = immediate.imm, .bytes_written = immediate.bytes_written};
  ImmediateBytes bytes;
  std::memcpy(bytes.data(), &message, sizeof(message));
  return bytes;
}

std::optional<Immediate> ParseImmediate(const Mark& mark, std::span<const std::byte> message) {
  ImmediateMessage found;
  if (message.size() != sizeof(found)) return std::nullopt;
  std::memcpy(&found, message.data(), sizeof(found));
  if (found.mark != mark || found.reserved != 0) return std::nullopt;
  return Immediate{.imm = found.imm, .bytes_written = found.bytes_written};
}

}  // namespace ashlar::fabric::verbs
