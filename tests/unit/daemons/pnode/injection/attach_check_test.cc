#include "daemons/pnode/injection/attach_check.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/base/ids.h"
#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

handoff::Attach Good() {
  auto attach = handoff::Make<handoff::Attach>();
  attach.blob_address = 0x7f00'0000'0000;
  attach.control_address = 0x7f00'0001'0000;
  attach.victim_address = 0x7f00'0010'0000;
  attach.staging_address = 0x7f00'1000'0000;
  return attach;
}

TEST(AttachCheck, EachBadAddressIsRefused) {
  EXPECT_TRUE(CheckAddresses(Good(), 256, 64).ok());
  for (std::uint64_t handoff::Attach::*field : {&handoff::Attach::blob_address, &handoff::Attach::control_address,
                                               &handoff::Attach::victim_address, &handoff::Attach::staging_address}) {
    for (const std::uint64_t bad : {std::uint64_t{0}, std::uint64_t{0x7f00'0000'0800}, std::uint64_t{1} << 47,
                                    (std::uint64_t{1} << 47) - kPageBytes / 2, ~std::uint64_t{0} - kPageBytes + 1}) {
      handoff::Attach attach = Good();
      attach.*field = bad;
      EXPECT_FALSE(CheckAddresses(attach, 256, 64).ok()) << bad;
    }
  }
}

TEST(AttachCheck, OverlapIsRefused) {
  handoff::Attach attach = Good();
  attach.staging_address = attach.victim_address + 63 * kPageBytes;
  EXPECT_FALSE(CheckAddresses(attach, 256, 64).ok());
  EXPECT_TRUE(CheckAddresses(attach, 256, 63).ok()) << "side by side";
}

TEST(AttachCheck, DescriptorsAreWhatTheKernelSaysTheyAre) {
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, ::getpid(), 0)));
  EXPECT_TRUE(CheckEventFd(event.get()).ok());
  EXPECT_FALSE(CheckEventFd(null.get()).ok());
  EXPECT_FALSE(CheckUffd(event.get()).ok());
  EXPECT_FALSE(CheckListener(event.get()).ok());
  EXPECT_EQ(*ProcessOfPidfd(pidfd.get()), ::getpid());
  EXPECT_FALSE(ProcessOfPidfd(event.get()).ok());
  EXPECT_FALSE(ProcessOfPidfd(-1).ok());
}

TEST(AttachCheck, AreaMustBeSealedAndOfItsSize) {
  const UniqueFd area(::memfd_create("area", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(::ftruncate(area.get(), 8192), 0);
  EXPECT_FALSE(CheckSealedArea(area.get(), 8192).ok()) << "it could shrink under the pnode";
  ASSERT_EQ(::fcntl(area.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  EXPECT_TRUE(CheckSealedArea(area.get(), 8192).ok());
  EXPECT_FALSE(CheckSealedArea(area.get(), 4096).ok());
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_FALSE(CheckSealedArea(null.get(), 0).ok());
}

}  // namespace
}  // namespace ashlar::pnode
