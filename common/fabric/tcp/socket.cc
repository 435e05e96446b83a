#include "common/fabric/tcp/socket.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace ashlar::fabric::tcp {
namespace {

constexpr int kBacklog = 128;

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

absl::StatusOr<Address> ParseAddress(std::string_view text) {
  const std::size_t colon = text.rfind(':');
  const std::string whole(text);
  if (colon == std::string_view::npos || colon == 0 || colon + 1 == text.size()) {
    return absl::InvalidArgumentError(absl::StrCat("fabric: address \"", whole, "\": write it as 10.0.0.1:7501 or [fd00::1]:7501"));
  }
  std::string host(text.substr(0, colon));
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const std::string port(text.substr(colon + 1));
  const addrinfo hints{.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* found = nullptr;
  const int error = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (error != 0) {
    return absl::InvalidArgumentError(absl::StrCat("fabric: address \"", whole, "\": ", ::gai_strerror(error),
                                                   "; it must be numeric"));
  }
  Address address;
  std::copy_n(reinterpret_cast<const std::byte*>(found->ai_addr), found->ai_addrlen, reinterpret_cast<std::byte*>(&address.storage));
  address.size = found->ai_addrlen;
  ::freeaddrinfo(found);
  return address;
}

std::string Print(const Address& address) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (::getnameinfo(address.get(), address.size, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  return address.storage.ss_family == AF_INET6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

absl::StatusOr<UniqueFd> OpenSocket(const Address& address) {
  UniqueFd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd.valid()) return ErrnoStatus(errno, "fabric: socket");
  return fd;
}

}  // namespace

absl::StatusOr<UniqueFd> ListenOn(std::string_view text) {
  ASHLAR_ASSIGN_OR_RETURN(const Address address, ParseAddress(text));
  ASHLAR_ASSIGN_OR_RETURN(UniqueFd fd, OpenSocket(address));
  const int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd.get(), address.get(), address.size) != 0 || ::listen(fd.get(), kBacklog) != 0) {
    return ErrnoStatus(errno, absl::StrCat("fabric: listen on ", std::string(text)));
  }
  return fd;
}

absl::StatusOr<UniqueFd> StartConnect(std::string_view text, int* error) {
  ASHLAR_ASSIGN_OR_RETURN(const Address address, ParseAddress(text));
  ASHLAR_ASSIGN_OR_RETURN(UniqueFd fd, OpenSocket(address));
  *error = ::connect(fd.get(), address.get(), address.size) == 0 || errno == EINPROGRESS ? 0 : errno;
  return fd;
}

UniqueFd AcceptOne(int listening_fd, int* error) {
  UniqueFd fd(::accept4(listening_fd, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  *error = fd.valid() ? 0 : errno;
  return fd;
}

void TuneConnection(int fd, std::uint64_t silence_ns) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  const unsigned silence_ms = static_cast<unsigned>(std::max<std::uint64_t>(silence_ns / 1'000'000, 1));
  ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms));
}

int SocketError(int fd) {
  int error = 0;
  socklen_t size = sizeof(error);
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0) return errno;
  return error;
}

std::string LocalAddress(int fd) {
  Address address;
  address.size = sizeof(address.storage);
  return ::getsockname(fd, address.get(), &address.size) == 0 ? Print(address) : "unknown";
}

std::string PeerAddress(int fd) {
  Address address;
  address.size = sizeof(address.storage);
  return ::getpeername(fd, address.get(), &address.size) == 0 ? Print(address) : "unknown";
}

}  // namespace ashlar::fabric::tcp
