#include "daemons/pnode/injection/helper_blob.h"

#include <cstring>

#include "daemons/pnode/injection/helper_protocol.h"
#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

// helper.ld refuses relocations, globals and undefined symbols when it is linked.
TEST(HelperBlob, StartsWithTheSyscallInstructionAndFitsItsPage) {
  const auto blob = HelperBlob();
  ASSERT_GE(blob.size(), 2u);
  EXPECT_EQ(std::to_integer<int>(blob[0]), 0x0f);
  EXPECT_EQ(std::to_integer<int>(blob[1]), 0x05);
  EXPECT_LE(blob.size(), 3840u);
}

TEST(HelperProtocol, LayoutIsFixed) {
  EXPECT_EQ(std::memcmp(&kHelperMagic, "ASHRHLP1", 8), 0);
  EXPECT_EQ(offsetof(MoveMailbox, done), 64u) << "owner and helper write different cache lines";
  EXPECT_EQ(offsetof(MoveMailbox, entries), 128u);
  EXPECT_EQ(offsetof(UnshareMailbox, done), 64u);
  EXPECT_EQ(sizeof(HelperControl) % 4096, 0u);
}

}  // namespace
}  // namespace ashlar::pnode
