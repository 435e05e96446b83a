#include "common/config/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "common/config/fault_list.h"
#include "common/config/units.h"

namespace ashlar::config {
namespace {

absl::Status Refused(std::string_view text, std::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat(Quoted(text), " ", absl::string_view(why.data(), why.size())));
}

// Fills in ip and is_loopback; false if `ip` is no address or one that nobody can connect to.
bool ReadIp(const std::string& ip, bool brackets, Address* address) {
  std::array<char, INET6_ADDRSTRLEN> canonical{};
  if (brackets) {
    in6_addr v6{};
    if (::inet_pton(AF_INET6, ip.c_str(), &v6) != 1 || IN6_IS_ADDR_UNSPECIFIED(&v6) || IN6_IS_ADDR_MULTICAST(&v6) ||
        IN6_IS_ADDR_V4MAPPED(&v6)) {
      return false;
    }
    ::inet_ntop(AF_INET6, &v6, canonical.data(), canonical.size());
    address->is_loopback = IN6_IS_ADDR_LOOPBACK(&v6);
  } else {
    in_addr v4{};
    if (::inet_pton(AF_INET, ip.c_str(), &v4) != 1) return false;
    const std::uint32_t host_order = ntohl(v4.s_addr);
    if (host_order == INADDR_ANY || IN_MULTICAST(host_order) || host_order == INADDR_BROADCAST) return false;
    ::inet_ntop(AF_INET, &v4, canonical.data(), canonical.size());
    address->is_loopback = host_order >> 24 == 127;
  }
  address->ip = canonical.data();
  return true;
}

}  // namespace

std::string Address::ToString() const {
  return ip.find(':') == std::string::npos ? absl::StrCat(ip, ":", port) : absl::StrCat("[", ip, "]:", port);
}

absl::StatusOr<Address> ParseAddress(std::string_view text) {
  constexpr std::string_view kShape = R"(is not an address; write "10.0.0.11:7401" or "[fd00::11]:7401")";
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return Refused(text, kShape);
  std::string_view ip = text.substr(0, colon);
  const bool brackets = ip.front() == '[' && ip.back() == ']';
  if (brackets) ip = ip.substr(1, ip.size() - 2);
  if (!brackets && ip.find(':') != std::string_view::npos) {
    return Refused(text, R"(is not an address; an IPv6 one needs brackets: "[fd00::11]:7401")");
  }

  const absl::StatusOr<std::uint64_t> port = ParseInteger(text.substr(colon + 1));
  if (!port.ok()) return Refused(text, kShape);
  if (*port == 0 || *port > 65535) return Refused(text, "has a port that is not 1 to 65535");

  Address address{.port = static_cast<std::uint16_t>(*port)};
  // A string with a NUL inside would look shorter to inet_pton.
  if (ip.find('\0') != std::string_view::npos || ip.size() >= INET6_ADDRSTRLEN) return Refused(text, kShape);
  if (!ReadIp(std::string(ip), brackets, &address)) {
    return Refused(text,
                   "has no IP address that others can connect to; names are not resolved, and 0.0.0.0 and [::] name no "
                   "host");
  }
  return address;
}

}  // namespace ashlar::config
