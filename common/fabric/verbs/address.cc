#include "common/fabric/verbs/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace ashlar::fabric::verbs {
namespace {

constexpr std::uint8_t kMappedPrefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};

sockaddr_in V4(const SocketAddress& address) {
  sockaddr_in v4;
  std::memcpy(&v4, &address.storage, sizeof(v4));
  return v4;
}
sockaddr_in6 V6(const SocketAddress& address) {
  sockaddr_in6 v6;
  std::memcpy(&v6, &address.storage, sizeof(v6));
  return v6;
}
template <typename Address>
SocketAddress Make(const Address& address) {
  SocketAddress made;
  std::memcpy(&made.storage, &address, sizeof(address));
  return made;
}

}  // namespace

absl::StatusOr<SocketAddress> ParseSocketAddress(std::string_view text) {
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
    return absl::InvalidArgumentError(absl::StrCat("fabric: address \"", whole, "\": ", ::gai_strerror(error), "; it must be numeric"));
  }
  SocketAddress address;
  std::memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
  ::freeaddrinfo(found);
  return address;
}

std::string Print(const sockaddr* address) {
  char host[NI_MAXHOST];
  char port[NI_MAXSERV];
  if (address == nullptr) return "unknown";
  const socklen_t size = address->sa_family == AF_INET6 ? sizeof(sockaddr_in6) : sizeof(sockaddr_in);
  if (::getnameinfo(address, size, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) return "unknown";
  return address->sa_family == AF_INET6 ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

SocketAddress WithPort(const SocketAddress& address, std::uint16_t port) {
  if (address.storage.ss_family == AF_INET6) {
    sockaddr_in6 v6 = V6(address);
    v6.sin6_port = htons(port);
    return Make(v6);
  }
  sockaddr_in v4 = V4(address);
  v4.sin_port = htons(port);
  return Make(v4);
}

absl::StatusOr<SocketAddress> AddressOfGid(const ibv_gid& gid) {
  if (gid.raw[0] == 0xFE && (gid.raw[1] & 0xC0) == 0x80) {
    return absl::InvalidArgumentError("a link-local GID: choose one that is an address of the data network");
  }
  if (std::equal(std::begin(kMappedPrefix), std::end(kMappedPrefix), gid.raw)) {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    std::memcpy(&v4.sin_addr, gid.raw + sizeof(kMappedPrefix), sizeof(v4.sin_addr));
    return Make(v4);
  }
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  std::memcpy(&v6.sin6_addr, gid.raw, sizeof(v6.sin6_addr));
  return Make(v6);
}

ibv_gid GidOfAddress(const SocketAddress& address) {
  ibv_gid gid{};
  if (address.storage.ss_family == AF_INET6) {
    const sockaddr_in6 v6 = V6(address);
    std::memcpy(gid.raw, &v6.sin6_addr, sizeof(gid.raw));
    return gid;
  }
  const sockaddr_in v4 = V4(address);
  std::memcpy(gid.raw, kMappedPrefix, sizeof(kMappedPrefix));
  std::memcpy(gid.raw + sizeof(kMappedPrefix), &v4.sin_addr, sizeof(v4.sin_addr));
  return gid;
}

}  // namespace ashlar::fabric::verbs
