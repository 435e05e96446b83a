#include "common/service/run_socket.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace ashlar::service {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

absl::StatusOr<std::string> Bounded(std::string path) {
  if (path.size() < sizeof(sockaddr_un::sun_path)) return path;
  return absl::InvalidArgumentError(absl::StrCat(path, ": a socket's path has at most ", sizeof(sockaddr_un::sun_path) - 1,
                                                 " bytes; set ASHLAR_RUNTIME_DIR to a shorter one"));
}

bool IsSocket(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode);
}

std::string SystemPath(std::string_view id) { return absl::StrCat("/run/ashlar/", View(id), "/run.sock"); }

}  // namespace

absl::StatusOr<std::string> RunSocketPath(std::string_view id) {
  if (const std::string own = Variable("ASHLAR_RUNTIME_DIR"); !own.empty()) {
    return Bounded(absl::StrCat(own, "/", View(id), "/run.sock"));
  }
  if (::geteuid() == 0 || !Variable("RUNTIME_DIRECTORY").empty()) return Bounded(SystemPath(id));
  if (const std::string xdg = Variable("XDG_RUNTIME_DIR"); !xdg.empty()) {
    return Bounded(absl::StrCat(xdg, "/ashlar/", View(id), "/run.sock"));
  }
  return absl::FailedPreconditionError("no place for the socket of `ashlar run`: set XDG_RUNTIME_DIR or ASHLAR_RUNTIME_DIR");
}

absl::StatusOr<std::string> FindRunSocket(std::string_view id) {
  const absl::StatusOr<std::string> own = RunSocketPath(id);
  if (own.ok() && IsSocket(*own)) return *own;
  if (!Variable("ASHLAR_RUNTIME_DIR").empty()) {
    if (!own.ok()) return own.status();
    return absl::NotFoundError(absl::StrCat("no pnode ", View(id), " listens at ", *own, " ($ASHLAR_RUNTIME_DIR)"));
  }
  if (IsSocket(SystemPath(id))) return SystemPath(id);
  std::string looked = own.ok() && *own != SystemPath(id) ? absl::StrCat(*own, " and ") : "";
  return absl::NotFoundError(absl::StrCat("no pnode ", View(id), " listens on this host: looked at ", looked, SystemPath(id),
                                          "; start it, or choose another with --on"));
}

}  // namespace ashlar::service
