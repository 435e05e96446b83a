#include "daemons/pnode/injection/handoff_message.h"

#include <algorithm>

namespace ashlar::pnode::handoff {

absl::StatusOr<Kind> Inspect(std::span<const std::byte> packet) {
  Header header;
  if (packet.size() < sizeof(header)) return absl::InvalidArgumentError("handoff: shorter than a header");
  std::memcpy(&header, packet.data(), sizeof(header));
  if (header.magic != kMagic) return absl::InvalidArgumentError("handoff: not a message of ours");
  if (header.version != kVersion) {
    return absl::InvalidArgumentError("handoff: another version: `ashlar` and ashlar-pnode must be of the same release");
  }
  if (header.size != packet.size() || header.reserved != 0) {
    return absl::InvalidArgumentError("handoff: header and packet disagree");
  }
  if (header.kind < static_cast<std::uint16_t>(Kind::kRunRequest) ||
      header.kind > static_cast<std::uint16_t>(Kind::kExited)) {
    return absl::InvalidArgumentError("handoff: unknown kind of message");
  }
  return static_cast<Kind>(header.kind);
}

void PutText(std::span<char> field, std::string_view text) {
  const std::size_t length = std::min(text.size(), field.size() - 1);
  std::copy_n(text.data(), length, field.begin());
  std::fill(field.begin() + static_cast<std::ptrdiff_t>(length), field.end(), '\0');
}

std::string GetText(std::span<const char> field) {
  std::string text(field.begin(), std::find(field.begin(), field.end(), '\0'));
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((byte < 0x20 && c != '\n') || byte == 0x7f) c = '?';
  }
  return text;
}

Refusal MakeRefusal(const absl::Status& status) {
  auto refusal = Make<Refusal>();
  const absl::Status given = status.ok() ? absl::InternalError("refused without a reason") : status;
  refusal.code = static_cast<std::uint32_t>(given.code());
  PutText(refusal.words.text, std::string_view(given.message().data(), given.message().size()));
  return refusal;
}

absl::Status StatusOf(const Refusal& refusal) {
  const bool known = refusal.code >= 1 && refusal.code <= 16;
  const auto code = known ? static_cast<absl::StatusCode>(refusal.code) : absl::StatusCode::kUnknown;
  return absl::Status(code, GetText(refusal.words.text));
}

}  // namespace ashlar::pnode::handoff
