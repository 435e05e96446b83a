#include "common/config/state_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"

namespace ashlar::config {
namespace {

constexpr const char* kLockName = "lock";
constexpr std::size_t kMaxPidBytes = 32;

absl::Status SyncFd(int fd, const std::string& path) {
  return ::fsync(fd) == 0 ? absl::OkStatus() : ErrnoStatus(errno, absl::StrCat("sync ", path));
}

// Makes `path` and its missing parents; each new name is synced into its parent.
absl::Status MakeDirectories(const std::string& path) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0750) == 0) {
      const std::size_t parent_end = part.find_last_of('/');
      const std::string parent = parent_end == std::string::npos ? "." : parent_end == 0 ? "/" : part.substr(0, parent_end);
      const UniqueFd fd(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("open ", parent));
      ASHLAR_RETURN_IF_ERROR(SyncFd(fd.get(), parent));
    } else if (errno != EEXIST) {
      return ErrnoStatus(errno, absl::StrCat("make state directory ", part));
    }
    if (slash == std::string::npos) return absl::OkStatus();
  }
}

// All of a file up to `max_bytes` + 1.
absl::StatusOr<std::string> ReadUpTo(int fd, std::size_t max_bytes, const std::string& path) {
  std::string content(max_bytes + 1, '\0');
  std::size_t size = 0;
  while (size < content.size()) {
    const ssize_t got = ::pread(fd, content.data() + size, content.size() - size, static_cast<off_t>(size));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, absl::StrCat("read ", path));
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  content.resize(size);
  return content;
}

absl::Status WriteAll(int fd, std::string_view content, const std::string& path) {
  while (!content.empty()) {
    const ssize_t put = ::write(fd, content.data(), content.size());
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoStatus(errno, absl::StrCat("write ", path));
    content.remove_prefix(static_cast<std::size_t>(put));
  }
  return absl::OkStatus();
}

// Takes the lock and leaves our pid in it for whoever comes next.
absl::Status Lock(int fd, const std::string& path) {
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, absl::StrCat("lock ", path));
    const absl::StatusOr<std::string> holder = ReadUpTo(fd, kMaxPidBytes, path);
    return absl::UnavailableError(absl::StrCat("state directory ", path, " is in use by pid ",
                                               holder.ok() && !holder->empty() ? *holder : "unknown",
                                               "; stop it, or give this daemon another --state-dir"));
  }
  if (::ftruncate(fd, 0) != 0) return ErrnoStatus(errno, absl::StrCat("write pid into ", path));
  return WriteAll(fd, absl::StrCat(::getpid()), path);
}

}  // namespace

absl::StatusOr<StateDirectory> StateDirectory::Open(const std::string& path) {
  if (path.empty()) return absl::InvalidArgumentError("the state directory has no name; give --state-dir DIR");
  ASHLAR_RETURN_IF_ERROR(MakeDirectories(path));
  UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory.valid()) return ErrnoStatus(errno, absl::StrCat("open state directory ", path));
  UniqueFd lock(::openat(directory.get(), kLockName, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!lock.valid()) return ErrnoStatus(errno, absl::StrCat("open lock in state directory ", path));
  ASHLAR_RETURN_IF_ERROR(Lock(lock.get(), path));
  return StateDirectory(path, std::move(directory), std::move(lock));
}

absl::StatusOr<std::string> StateDirectory::ReadFile(const std::string& name, std::size_t max_bytes) const {
  const std::string full = absl::StrCat(path_, "/", name);
  const UniqueFd fd(::openat(directory_.get(), name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("open ", full));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("stat ", full));
  if (!S_ISREG(info.st_mode)) return absl::DataLossError(absl::StrCat(full, " is no plain file"));
  absl::StatusOr<std::string> content = ReadUpTo(fd.get(), max_bytes, full);
  if (content.ok() && content->size() > max_bytes) {
    return absl::DataLossError(absl::StrCat(full, " is longer than ", max_bytes, " bytes"));
  }
  return content;
}

absl::Status StateDirectory::SyncFile(const std::string& name, std::string_view content) {
  const std::string temporary = name + ".tmp";
  const std::string full = absl::StrCat(path_, "/", name);
  const UniqueFd fd(::openat(directory_.get(), temporary.c_str(),
                             O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("create ", full, ".tmp"));
  absl::Status status = WriteAll(fd.get(), content, full);
  if (status.ok()) status = SyncFd(fd.get(), full);
  if (status.ok() && ::renameat(directory_.get(), temporary.c_str(), directory_.get(), name.c_str()) != 0) {
    status = ErrnoStatus(errno, absl::StrCat("rename ", full, ".tmp"));
  }
  if (!status.ok()) {
    ::unlinkat(directory_.get(), temporary.c_str(), 0);
    return status;
  }
  return SyncFd(directory_.get(), path_);
}

}  // namespace ashlar::config
