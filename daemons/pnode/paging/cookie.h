// How this layer names its requests to the page store.
#pragma once

#include <cstdint>

#include "daemons/pnode/paging/page_store.h"

namespace ashlar::pnode {

constexpr std::uint64_t kWriteBackDelayNs = 200'000;  // a batch leaves so long after its first page, or when full

// Write-backs: which program, which slot of its victim area. Fetches: the number in the fetch pool.
constexpr Cookie WriteBackCookie(std::uint32_t program, std::uint32_t slot) {
  return (std::uint64_t{program} << 32) | slot;
}
constexpr std::uint32_t CookieProgram(Cookie cookie) { return static_cast<std::uint32_t>(cookie >> 32); }
constexpr std::uint32_t CookieIndex(Cookie cookie) { return static_cast<std::uint32_t>(cookie); }

}  // namespace ashlar::pnode
