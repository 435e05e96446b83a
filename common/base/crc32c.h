// CRC32C (Castagnoli, RFC 3720 B.4), check value e3069283 for "123456789". By isa-l.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/ids.h"

namespace ashlar {

// CRC of `bytes` appended to data whose CRC is `so_far` (0 = nothing yet).
std::uint32_t Crc32c(std::span<const std::byte> bytes, std::uint32_t so_far = 0);

// The checksum a page version carries from eviction to recovery: over space, page and version as three little-endian
// u64, then the page's bytes. A page of the wrong place, time or space fails like a flipped bit. Empty `page_bytes`
// stand for a zero page, and the CRC covers the identity alone.
std::uint32_t PageCrc32c(SpaceId space, PageNumber page, Version version, std::span<const std::byte> page_bytes);

}  // namespace ashlar
