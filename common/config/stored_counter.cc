#include "common/config/stored_counter.h"

#include <bit>
#include <cstring>
#include <span>

#include "absl/strings/str_cat.h"
#include "common/base/crc32c.h"
#include "common/base/status.h"

namespace ashlar::config {
namespace {

static_assert(std::endian::native == std::endian::little, "the format is little-endian");

constexpr std::uint32_t kMagic = 0x41534843;
constexpr std::uint16_t kVersion = 1;

struct Image {
  std::uint32_t magic = kMagic;
  std::uint16_t version = kVersion;
  std::uint16_t kind = 0;
  std::uint64_t node_id = 0;
  std::uint64_t value = 0;
  std::uint32_t reserved = 0;
  std::uint32_t crc = 0;
};
static_assert(sizeof(Image) == kStoredCounterBytes && std::has_unique_object_representations_v<Image>);

std::uint32_t ChecksumOf(const Image& image) {
  return Crc32c(std::as_bytes(std::span(&image, 1)).first(offsetof(Image, crc)));
}

}  // namespace

std::string EncodeCounter(CounterKind kind, NodeId node_id, std::uint64_t value) {
  Image image{.kind = static_cast<std::uint16_t>(kind), .node_id = node_id.value(), .value = value};
  image.crc = ChecksumOf(image);
  return std::string(reinterpret_cast<const char*>(&image), sizeof(image));
}

absl::StatusOr<std::uint64_t> DecodeCounter(std::string_view bytes, CounterKind kind, NodeId node_id) {
  Image image;
  if (bytes.size() != sizeof(image)) {
    return absl::DataLossError(absl::StrCat("damaged: ", bytes.size(), " bytes instead of ", sizeof(image)));
  }
  std::memcpy(&image, bytes.data(), sizeof(image));
  if (image.magic != kMagic) return absl::DataLossError("damaged: not a counter of Ashlar");
  if (image.crc != ChecksumOf(image)) return absl::DataLossError("damaged: wrong checksum");
  if (image.version != kVersion) {
    return absl::FailedPreconditionError(absl::StrCat("has format version ", image.version, ", this program reads ", kVersion));
  }
  if (image.kind != static_cast<std::uint16_t>(kind) || image.reserved != 0) {
    return absl::FailedPreconditionError(absl::StrCat("counts something else (kind ", image.kind, ")"));
  }
  if (image.node_id != node_id.value()) {
    return absl::FailedPreconditionError(
        "belongs to another node; is --state-dir right, or was the cluster or the node's id renamed?");
  }
  return image.value;
}

absl::StatusOr<std::optional<std::uint64_t>> ReadCounter(const StateDirectory& directory, const std::string& name,
                                                         CounterKind kind, NodeId node_id) {
  const absl::StatusOr<std::string> bytes = directory.ReadFile(name, kStoredCounterBytes);
  if (absl::IsNotFound(bytes.status())) return std::nullopt;
  if (!bytes.ok()) return bytes.status();
  const absl::StatusOr<std::uint64_t> value = DecodeCounter(*bytes, kind, node_id);
  if (!value.ok()) return Annotate(value.status(), absl::StrCat(directory.path(), "/", name));
  return *value;
}

}  // namespace ashlar::config
