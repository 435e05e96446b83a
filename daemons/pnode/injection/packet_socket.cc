#include "daemons/pnode/injection/packet_socket.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace ashlar::pnode {
namespace {

absl::StatusOr<sockaddr_un> AddressOf(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("socket path '", path, "' must have 1 to ", sizeof(address.sun_path) - 1, " characters"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<UniqueFd> NewSocket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "UNIX socket");
  return fd;
}

}  // namespace

absl::Status SendPacket(int socket, std::span<const std::byte> bytes, std::span<const int> descriptors) {
  iovec part{const_cast<std::byte*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * handoff::kMaxDescriptors)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  ssize_t sent;
  do {
    sent = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent == static_cast<ssize_t>(bytes.size())) return absl::OkStatus();
  const int error = sent < 0 ? errno : EIO;
  if (error == EPIPE || error == ECONNRESET || error == EAGAIN || error == ENOTCONN) {
    return absl::UnavailableError("handoff: the other side is gone or does not read");
  }
  return ErrnoStatus(error, "handoff: send");
}

absl::StatusOr<Packet> ReceivePacket(int socket, absl::Duration timeout) {
  const absl::Time deadline = absl::Now() + timeout;
  for (;;) {
    pollfd one{socket, POLLIN, 0};
    const int left_ms = static_cast<int>(
        std::clamp<std::int64_t>(absl::ToInt64Milliseconds(absl::Ceil(deadline - absl::Now(), absl::Milliseconds(1))),
                                 0, 1 << 30));
    const int ready = ::poll(&one, 1, left_ms);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return ErrnoStatus(errno, "handoff: poll");
    if (ready > 0) break;
    return absl::DeadlineExceededError("handoff: no answer in time");
  }
  Packet packet;
  packet.bytes.resize(handoff::kMaxMessageBytes);
  iovec part{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * handoff::kMaxDescriptors)> control;
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t got;
  do {
    got = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == ECONNRESET || errno == EAGAIN)) return absl::UnavailableError("handoff: connection lost");
  if (got < 0) return ErrnoStatus(errno, "handoff: receive");
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
      packet.descriptors.emplace_back(fd);
    }
  }
  if (got == 0) return absl::UnavailableError("handoff: the other side hung up");
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return absl::InvalidArgumentError("handoff: too long a message or too many descriptors");
  }
  packet.bytes.resize(static_cast<std::size_t>(got));
  return packet;
}

absl::StatusOr<UniqueFd> ListenAt(const std::string& path) {
  ASHLAR_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  absl::StatusOr<UniqueFd> other = ConnectTo(path);
  if (other.ok()) return absl::AlreadyExistsError(absl::StrCat("another pnode answers at ", path));
  if (absl::IsUnavailable(other.status())) ::unlink(path.c_str());
  ASHLAR_ASSIGN_OR_RETURN(UniqueFd fd, NewSocket());
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("listen at ", path));
  }
  if (::chmod(path.c_str(), 0660) != 0 || ::listen(fd.get(), 64) != 0) {
    return ErrnoStatus(errno, absl::StrCat("listen at ", path));
  }
  return fd;
}

absl::StatusOr<UniqueFd> ConnectTo(const std::string& path) {
  ASHLAR_ASSIGN_OR_RETURN(const sockaddr_un address, AddressOf(path));
  ASHLAR_ASSIGN_OR_RETURN(UniqueFd fd, NewSocket());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  const int error = errno;
  const std::string what = absl::StrCat("connect to ", path);
  if (error == ENOENT) return absl::NotFoundError(absl::StrCat(what, ": no such socket"));
  if (error == ECONNREFUSED) return absl::UnavailableError(absl::StrCat(what, ": nobody listens"));
  return ErrnoStatus(error, what);
}

}  // namespace ashlar::pnode
