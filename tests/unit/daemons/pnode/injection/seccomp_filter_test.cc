#include "daemons/pnode/injection/seccomp_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

#include <cstring>

#include "gtest/gtest.h"

namespace ashlar::pnode {
namespace {

// The kernel's classic BPF, as far as the filter uses it.
__u32 Decide(__u32 arch, int number) {
  seccomp_data data{};
  data.arch = arch;
  data.nr = number;
  const auto filter = ThreadExitFilter();
  __u32 value = 0;
  for (std::size_t at = 0; at < filter.size(); ++at) {
    const sock_filter& step = filter[at];
    switch (step.code) {
      case BPF_LD | BPF_W | BPF_ABS:
        std::memcpy(&value, reinterpret_cast<const char*>(&data) + step.k, sizeof(value));
        break;
      case BPF_JMP | BPF_JEQ | BPF_K:
        at += value == step.k ? step.jt : step.jf;
        break;
      case BPF_RET | BPF_K:
        return step.k;
      default:
        ADD_FAILURE() << "an instruction this test does not know";
        return 0;
    }
  }
  ADD_FAILURE() << "ran off the end";
  return 0;
}

TEST(SeccompFilter, OnlyTheEndOfAThreadIsAnnounced) {
  for (int number = 0; number < 1024; ++number) {
    EXPECT_EQ(Decide(AUDIT_ARCH_X86_64, number), number == SYS_exit ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW) << number;
    EXPECT_EQ(Decide(AUDIT_ARCH_I386, number), number == 1 ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW) << number;
    EXPECT_EQ(Decide(AUDIT_ARCH_X86_64, number | 0x40000000),
              number == SYS_exit ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ALLOW)
        << "x32 " << number;
  }
  EXPECT_EQ(Decide(AUDIT_ARCH_AARCH64, SYS_exit), SECCOMP_RET_ALLOW);
}

}  // namespace
}  // namespace ashlar::pnode
