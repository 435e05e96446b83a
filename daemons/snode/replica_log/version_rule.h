// What every holder of a page answers to an arriving version. A pure function of numbers: arrival order plays no part.
#pragma once

#include <cstdint>

#include "common/base/ids.h"

namespace ashlar::snode {

struct VersionMark {
  Version version;
  std::uint32_t crc = 0;
};

enum class VersionVerdict {
  kTake,         // higher than what is held, or nothing is held
  kAlready,      // the same: a resend
  kSuperseded,   // lower than what is held, or hidden by a trim
  kTwoVersions,  // the same number with another checksum: one writer cannot do that
};

// `held`: nullptr if no version of the page is held. `trimmed_upto`: versions up to it were trimmed; 0 = none.
constexpr VersionVerdict JudgeVersion(VersionMark arriving, const VersionMark* held, Version trimmed_upto) {
  if (arriving.version <= trimmed_upto) return VersionVerdict::kSuperseded;
  if (held == nullptr || arriving.version > held->version) return VersionVerdict::kTake;
  if (arriving.version < held->version) return VersionVerdict::kSuperseded;
  return arriving.crc == held->crc ? VersionVerdict::kAlready : VersionVerdict::kTwoVersions;
}

}  // namespace ashlar::snode
