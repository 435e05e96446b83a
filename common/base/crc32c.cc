#include "common/base/crc32c.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <array>
#include <bit>
#include <climits>
#include <cstring>

#include "common/base/check.h"

namespace ashlar {

std::uint32_t Crc32c(std::span<const std::byte> bytes, std::uint32_t so_far) {
  ASHLAR_CHECK(bytes.size() <= INT_MAX, "bytes={}", bytes.size());
  // isa-l neither inverts on the way in nor out; its buffer is not written to.
  auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
  return ~crc32_iscsi(data, static_cast<int>(bytes.size()), ~so_far);
}

std::uint32_t PageCrc32c(SpaceId space, PageNumber page, Version version, std::span<const std::byte> page_bytes) {
  static_assert(std::endian::native == std::endian::little);
  const std::array<std::uint64_t, 3> identity = {space.value(), page.value(), version.value()};
  return Crc32c(page_bytes, Crc32c(std::as_bytes(std::span(identity))));
}

}  // namespace ashlar
