#include "daemons/pnode/injection/seccomp_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace ashlar::pnode {
namespace {

constexpr __u32 kX32Bit = 0x4000'0000;
constexpr __u32 kExit64 = 60;
constexpr __u32 kExit32 = 1;
static_assert(kExit64 == SYS_exit);

constexpr sock_filter kFilter[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 0, 3),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kExit64, 5, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kExit64 | kX32Bit, 4, 3),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_I386, 0, 2),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kExit32, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
};

}  // namespace

std::span<const sock_filter> ThreadExitFilter() { return kFilter; }

int InstallThreadExitFilter() {
  const sock_fprog program{.len = static_cast<unsigned short>(std::size(kFilter)),
                           .filter = const_cast<sock_filter*>(kFilter)};
  // Killable: otherwise a signal would interrupt the wait, and exit, which nothing expects to return, would be restarted.
  for (const unsigned long flags :
       {SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, SECCOMP_FILTER_FLAG_NEW_LISTENER}) {
    const long fd = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
    if (fd >= 0) return static_cast<int>(fd);
    if (errno != EINVAL) return -errno;  // EINVAL: the flag is newer than this kernel (5.19)
  }
  return -EINVAL;
}

}  // namespace ashlar::pnode
