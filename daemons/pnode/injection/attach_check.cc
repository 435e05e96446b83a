#include "daemons/pnode/injection/attach_check.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/ids.h"
#include "common/base/status.h"
#include "daemons/pnode/injection/helper_protocol.h"

namespace ashlar::pnode {
namespace {

std::string KindOf(int fd) {
  char kind[64];
  const ssize_t length = ::readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), kind, sizeof(kind));
  return length > 0 ? std::string(kind, static_cast<std::size_t>(length)) : std::string();
}

absl::Status CheckKind(int fd, const char* expected) {
  if (KindOf(fd) == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("handoff: a descriptor is not ", expected));
}

}  // namespace

absl::Status CheckAddresses(const handoff::Attach& attach, std::uint32_t staging_pages, std::uint32_t victim_slots) {
  constexpr std::uint64_t kUserEnd = std::uint64_t{1} << 47;
  struct Range {
    std::uint64_t begin;
    std::uint64_t size;
  };
  const std::array<Range, 4> ranges = {{{attach.blob_address, kPageBytes},
                                        {attach.control_address, sizeof(HelperControl)},
                                        {attach.victim_address, victim_slots * kPageBytes},
                                        {attach.staging_address, staging_pages * kPageBytes}}};
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    const Range& range = ranges[i];
    if (range.begin == 0 || range.begin % kPageBytes != 0 || range.begin >= kUserEnd ||
        range.size > kUserEnd - range.begin) {
      return absl::InvalidArgumentError("handoff: an address outside the program");
    }
    for (std::size_t k = 0; k < i; ++k) {
      if (range.begin < ranges[k].begin + ranges[k].size && ranges[k].begin < range.begin + range.size) {
        return absl::InvalidArgumentError("handoff: areas overlap");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckUffd(int fd) { return CheckKind(fd, "anon_inode:[userfaultfd]"); }
absl::Status CheckEventFd(int fd) { return CheckKind(fd, "anon_inode:[eventfd]"); }
absl::Status CheckListener(int fd) { return CheckKind(fd, "anon_inode:seccomp notify"); }

absl::Status CheckSealedArea(int fd, std::size_t size) {
  constexpr int kWanted = F_SEAL_SHRINK | F_SEAL_GROW;
  const int seals = ::fcntl(fd, F_GET_SEALS);
  struct stat info;
  if (seals < 0 || (seals & kWanted) != kWanted || ::fstat(fd, &info) != 0 ||
      info.st_size != static_cast<off_t>(size)) {
    return absl::InvalidArgumentError("handoff: a shared area is not sealed or of another size");
  }
  return absl::OkStatus();
}

absl::StatusOr<pid_t> ProcessOfPidfd(int fd) {
  const std::string kind = KindOf(fd);
  if (kind != "anon_inode:[pidfd]" && !absl::StartsWith(kind, "pidfd:")) {  // its own file system since Linux 6.9
    return absl::InvalidArgumentError("handoff: a descriptor is not a pidfd");
  }
  std::ifstream file(absl::StrCat("/proc/self/fdinfo/", fd));
  for (std::string line; std::getline(file, line);) {
    pid_t pid = 0;
    if (!absl::StartsWith(line, "Pid:") || !(std::istringstream(line.substr(4)) >> pid)) continue;
    if (pid > 0) return pid;
    return absl::NotFoundError("handoff: the program has ended, or lives in a pid namespace that the pnode can't see");
  }
  return absl::InvalidArgumentError("handoff: a pidfd without a process");
}

}  // namespace ashlar::pnode
