#include "common/fabric/shm/socket.h"

#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace ashlar::fabric::shm {
namespace {

constexpr std::string_view kPrefix = "shm:";
constexpr int kBacklog = 128;

struct Address {
  sockaddr_un name{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&name); }
};

absl::StatusOr<Address> ParseAddress(std::string_view text) {
  Address address;
  const std::string_view name = text.substr(std::min(text.size(), kPrefix.size()));
  if (!IsShmAddress(text) || name.empty() || name.size() + 1 > sizeof(address.name.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("fabric: address \"", std::string(text), "\": not one of shared memory"));
  }
  address.name.sun_family = AF_UNIX;
  std::memcpy(address.name.sun_path + 1, name.data(), name.size());  // a leading 0: the abstract namespace
  address.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  return address;
}

absl::StatusOr<UniqueFd> OpenSocket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "fabric: socket");
  return fd;
}

absl::StatusOr<ucred> PeerOf(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return ErrnoStatus(errno, "fabric: who the peer is");
  return peer;
}

}  // namespace

bool IsShmAddress(std::string_view address) { return address.starts_with(kPrefix); }

absl::StatusOr<UniqueFd> ListenOn(std::string_view text, std::string* bound) {
  *bound = std::string(text);
  if (text == kPrefix) {
    std::array<char, 16> random;
    if (::getrandom(random.data(), random.size(), 0) != static_cast<ssize_t>(random.size())) return ErrnoStatus(errno, "fabric: getrandom");
    *bound = absl::StrCat("shm:ashlar-", absl::BytesToHexString(absl::string_view(random.data(), random.size())));
  }
  ASHLAR_ASSIGN_OR_RETURN(const Address address, ParseAddress(*bound));
  ASHLAR_ASSIGN_OR_RETURN(UniqueFd fd, OpenSocket());
  if (::bind(fd.get(), address.get(), address.size) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    return ErrnoStatus(errno, absl::StrCat("fabric: listen on ", *bound));
  }
  return fd;
}

absl::StatusOr<UniqueFd> StartConnect(std::string_view text, int* error) {
  ASHLAR_ASSIGN_OR_RETURN(const Address address, ParseAddress(text));
  ASHLAR_ASSIGN_OR_RETURN(UniqueFd fd, OpenSocket());
  *error = ::connect(fd.get(), address.get(), address.size) == 0 ? 0 : errno;
  if (*error == 0 && !CheckPeer(fd.get()).ok()) *error = EPERM;
  return fd;
}

absl::Status CheckPeer(int fd) {
  ASHLAR_ASSIGN_OR_RETURN(const ucred peer, PeerOf(fd));
  const uid_t own = ::geteuid();
  if (peer.uid == own || peer.uid == 0 || own == 0) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("fabric: shared memory is for one user: the peer's uid is ", peer.uid, ", ours is ", own));
}

std::string PeerName(int fd) {
  const absl::StatusOr<ucred> peer = PeerOf(fd);
  return peer.ok() ? absl::StrCat("shm:", peer->pid) : "shm:unknown";
}

}  // namespace ashlar::fabric::shm
