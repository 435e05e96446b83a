#include "daemons/mnode/pool/version_rule.h"

#include <gtest/gtest.h>

namespace ashlar::mnode {
namespace {

// The table of the design, written a second time by case: held {empty, zero, page} × {0…3} against arriving 1…3 × 2 crcs.
TEST(VersionRule, EveryPairOfHeldAndArriving) {
  for (FrameState state : {FrameState::kEmpty, FrameState::kZero, FrameState::kPage}) {
    for (std::uint64_t held = state == FrameState::kEmpty ? 0 : 1; held <= 3; ++held) {
      for (std::uint64_t arriving = 1; arriving <= 3; ++arriving) {
        for (std::uint32_t crc : {7u, 8u}) {
          Verdict expected = Verdict::kSuperseded;
          if (arriving > held) expected = Verdict::kTake;
          if (arriving == held && state != FrameState::kEmpty) expected = crc == 7 ? Verdict::kAlready : Verdict::kTwoVersions;
          EXPECT_EQ(Judge({state, Version(held), 7}, Version(arriving), crc), expected)
              << "state " << int(state) << " held " << held << " arriving " << arriving << " crc " << crc;
        }
      }
    }
  }
}

}  // namespace
}  // namespace ashlar::mnode
