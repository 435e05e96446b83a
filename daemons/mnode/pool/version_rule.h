// The rule that every holder of pages keeps: what to do with a version that arrives, given the one that is held. Pure.
// It makes resends harmless and the order of arrival irrelevant (design: replication, "Identity and order").
#pragma once

#include <cstdint>

#include "common/base/ids.h"

namespace ashlar::mnode {

enum class FrameState : std::uint8_t {
  kEmpty,  // never written, or trimmed: then its version is the trim's up_to_version
  kZero,   // a page of zeros; its frame holds zeros
  kPage,
};

enum class Verdict : std::uint8_t {
  kTake,         // newer: keep it
  kAlready,      // a resend of what is held
  kSuperseded,   // older than what is held: success, its bytes are dropped
  kTwoVersions,  // one number, two contents: one writer cannot do that
};

struct HeldVersion {
  FrameState state = FrameState::kEmpty;
  Version version;  // 0: never written
  std::uint32_t crc32c = 0;
};

// `arriving` is at least 1.
constexpr Verdict Judge(const HeldVersion& held, Version arriving, std::uint32_t arriving_crc32c) {
  if (arriving > held.version) return Verdict::kTake;
  if (arriving < held.version || held.state == FrameState::kEmpty) return Verdict::kSuperseded;
  return arriving_crc32c == held.crc32c ? Verdict::kAlready : Verdict::kTwoVersions;
}

}  // namespace ashlar::mnode
