#include "common/fabric/verbs/memlock.h"

#include <linux/capability.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"

namespace ashlar::fabric::verbs {
namespace {

bool HasCapability(int capability) {
  __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
  __user_cap_data_struct data[2]{};
  if (::syscall(SYS_capget, &header, data) != 0) return false;
  return (data[capability / 32].effective >> (capability % 32) & 1u) != 0;
}

}  // namespace

Memlock ReadMemlock() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return {};
  return {.limit_bytes = limit.rlim_cur, .exempt = HasCapability(CAP_IPC_LOCK)};
}

absl::Status CheckMemlock(const Memlock& memlock, std::uint64_t needed_bytes) {
  if (memlock.exempt || memlock.limit_bytes >= needed_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "fabric: RDMA needs ", needed_bytes, " bytes of locked memory, this process may lock ", memlock.limit_bytes,
      "; add LimitMEMLOCK=infinity to the unit, --ulimit memlock=-1 --device=/dev/infiniband to the container, or run ulimit -l unlimited"));
}

}  // namespace ashlar::fabric::verbs
