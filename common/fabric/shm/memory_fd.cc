#include "common/fabric/shm/memory_fd.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>

#include "common/base/check.h"
#include "common/base/status.h"

namespace ashlar::fabric::shm {
namespace {

constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW;

}  // namespace

SharedMapping::~SharedMapping() {
  if (bytes_.empty()) return;
  ASHLAR_CHECK(::munmap(bytes_.data(), bytes_.size()) == 0, "munmap errno={}", errno);
}

absl::StatusOr<SharedMapping> SharedMapping::Map(const UniqueFd& fd, std::size_t bytes, Access access) {
  const int protection = access == Access::kRead ? PROT_READ : PROT_READ | PROT_WRITE;
  void* address = ::mmap(nullptr, bytes, protection, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) return ErrnoStatus(errno, "fabric: map shared memory");
  ::madvise(address, bytes, MADV_DONTFORK);
  ::madvise(address, bytes, MADV_DONTDUMP);
  SharedMapping mapping;
  mapping.bytes_ = {static_cast<std::byte*>(address), bytes};
  return mapping;
}

absl::StatusOr<UniqueFd> MakeMemoryFd(const char* name, std::size_t bytes) {
  UniqueFd fd(::memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid() || ::ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 || ::fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) {
    return ErrnoStatus(errno, "fabric: make shared memory");
  }
  return fd;
}

absl::Status SendFd(int socket, int fd) {
  std::byte byte{2};
  iovec part{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) != 1) return ErrnoStatus(errno, "fabric: send shared memory to a peer");
  return absl::OkStatus();
}

absl::StatusOr<UniqueFd> ReceiveFd(int socket, bool* gone) {
  std::byte byte{};
  iovec part{.iov_base = &byte, .iov_len = 1};
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  const ssize_t n = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return UniqueFd();
  *gone = n <= 0;
  if (n <= 0) return UniqueFd();
  UniqueFd taken;
  int count = 0;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    for (std::size_t at = 0; at + sizeof(int) <= header->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + at, sizeof(fd));
      taken.Reset(fd);  // of several only the last is kept open
      ++count;
    }
  }
  if (count != 1 || (message.msg_flags & MSG_CTRUNC) != 0) return absl::InvalidArgumentError("fabric: a peer sent no memory where it had to");
  return taken;
}

absl::StatusOr<SharedMapping> MapPeerMemory(const UniqueFd& fd, std::size_t bytes, SharedMapping::Access access) {
  struct statfs system;
  struct stat status;
  if (::fstatfs(fd.get(), &system) != 0 || ::fstat(fd.get(), &status) != 0) return ErrnoStatus(errno, "fabric: memory of a peer");
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  if (system.f_type != TMPFS_MAGIC || seals < 0 || (seals & kSeals) != kSeals) {
    return absl::InvalidArgumentError("fabric: a peer sent memory that may shrink");
  }
  if (static_cast<std::size_t>(status.st_size) != bytes) return absl::InvalidArgumentError("fabric: a peer sent memory of another size");
  return SharedMapping::Map(fd, bytes, access);
}

}  // namespace ashlar::fabric::shm
