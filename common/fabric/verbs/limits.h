// What a device can do, as found at start, and the numbers of a queue pair that follow from it. Pure; the probe fills it in.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/fabric/contract.h"

namespace ashlar::fabric::verbs {

struct DeviceFacts {
  std::string name;
  bool is_iwarp = false;
  std::uint32_t max_inline = 0;  // what a queue pair was granted
  std::uint32_t max_sge = 0;
  std::uint32_t max_sge_read = 0;  // some devices scatter a READ over fewer
  std::uint32_t max_message = 0;
  std::uint32_t max_reads = 0;     // as initiator and as target: the lesser
  // Found by trying on a looped-back pair; nobody can be asked.
  bool immediate_works = false;
  bool window_works = false;  // type 2B: bound to one queue pair
};

// Unimplemented, naming what is missing: a device that can't lend memory to one peer alone is not used.
absl::StatusOr<Caps> ConcludeCaps(const DeviceFacts& facts);

// Retries of a request that is not acknowledged. Never 7: soft RoCE takes that for "for ever".
constexpr std::uint8_t kRetryCount = 6;
// Credits make "receiver not ready" a bug, so it must show: one more try after 0.64 ms.
constexpr std::uint8_t kRnrRetryCount = 1;
constexpr std::uint8_t kMinRnrTimer = 12;
constexpr std::uint32_t kWantedInline = 256;

// Exponent of the longest acknowledgement timeout (4.096 us · 2^n) with which a dead peer is noticed within `silence_ns`.
// From 8 (1 ms) on, or a busy host would be taken for dead.
constexpr std::uint8_t AckTimeoutExponent(std::uint64_t silence_ns) {
  std::uint8_t exponent = 8;
  while (exponent < 21 && (std::uint64_t{4096} << (exponent + 1)) * (kRetryCount + 1) <= silence_ns) ++exponent;
  return exponent;
}

}  // namespace ashlar::fabric::verbs
