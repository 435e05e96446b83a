#include "daemons/pnode/injection/uffd_setup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "common/base/ids.h"
#include "common/base/status.h"
#include "daemons/pnode/injection/uffd_abi.h"

namespace ashlar::pnode {

absl::Status SetUpUffd(int fd, std::uint64_t staging_address, std::uint32_t staging_pages) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return ErrnoStatus(errno, "userfaultfd flags");
  uffdio_api api{.api = UFFD_API,
                 .features = UFFD_FEATURE_MOVE | UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP |
                             UFFD_FEATURE_EVENT_REMOVE | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_THREAD_ID,
                 .ioctls = 0};
  if (::ioctl(fd, UFFDIO_API, &api) != 0) {
    if (errno == EPERM) {
      return absl::FailedPreconditionError(
          "the pnode may not follow forks: it needs CAP_SYS_PTRACE (AmbientCapabilities= in its unit, or run it as root)");
    }
    if (errno == EINVAL) {
      return absl::FailedPreconditionError("this kernel's userfaultfd has no MOVE or events: Linux 6.8 or later is needed");
    }
    return ErrnoStatus(errno, "UFFDIO_API");
  }
  uffdio_register staging{.range = {.start = staging_address, .len = staging_pages * kPageBytes},
                          .mode = UFFDIO_REGISTER_MODE_MISSING,
                          .ioctls = 0};
  if (::ioctl(fd, UFFDIO_REGISTER, &staging) != 0) return ErrnoStatus(errno, "UFFDIO_REGISTER of staging");
  return absl::OkStatus();
}

}  // namespace ashlar::pnode
