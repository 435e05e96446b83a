// How long to wait before the next attempt to connect: 10 ms · 2ⁿ, at most 2 s, of which a random half is left out, so
// that clients of a restarted server don't come all at once.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ashlar::fit {

constexpr std::uint64_t kBackOffFirstNs = 10'000'000;
constexpr std::uint64_t kBackOffMostNs = 2'000'000'000;

// `failures` so far in a row; `random` over all 32 bits.
constexpr std::uint64_t BackOffNs(std::uint32_t failures, std::uint32_t random) {
  std::uint64_t full = std::min(kBackOffFirstNs << std::min(failures, 8u), kBackOffMostNs);
  return full - ((full / 2) * random >> 32);
}

}  // namespace ashlar::fit
