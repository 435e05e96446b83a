// The content hash by which a page is known to be unchanged: XXH3, 128 bit, seeded per space so that nobody can craft two
// pages that look alike.
#pragma once

#include <xxhash.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "common/base/ids.h"

namespace ashlar::pnode {

struct PageHash {
  std::uint64_t low = 0;
  std::uint64_t high = 0;
  friend bool operator==(const PageHash&, const PageHash&) = default;
  std::uint32_t low32() const { return static_cast<std::uint32_t>(low); }
};

inline PageHash HashPage(const std::byte* page, std::uint64_t seed) {
  XXH128_hash_t hash = XXH3_128bits_withSeed(page, kPageBytes, seed);
  return {hash.low64, hash.high64};
}

inline bool IsZeroPage(const std::byte* page) {
  return page[0] == std::byte{0} && std::memcmp(page, page + 1, kPageBytes - 1) == 0;
}

}  // namespace ashlar::pnode
