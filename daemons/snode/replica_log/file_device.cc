#include "daemons/snode/replica_log/file_device.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/mapping.h"
#include "common/base/status.h"

namespace ashlar::snode {
namespace {

constexpr unsigned kRingEntries = 128;  // 4 batches, the cleaner's read and 32 of the page reader are under way at most
constexpr std::size_t kZeroChunk = 4 << 20;
constexpr std::size_t kMaxQuarantineFiles = 256;

absl::Status WriteAll(int fd, std::span<const std::byte> bytes, std::uint64_t at, const std::string& what) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return ErrnoStatus(n < 0 ? errno : EIO, "write " + what);
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    at += static_cast<std::uint64_t>(n);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileDevice>> FileDevice::Open(std::string path) {
  std::unique_ptr<FileDevice> device(new FileDevice(std::move(path)));
  ASHLAR_RETURN_IF_ERROR(device->Lock());
  ASHLAR_RETURN_IF_ERROR(device->SetUp());
  return device;
}

absl::StatusOr<std::unique_ptr<FileDevice>> FileDevice::OpenReadOnly(std::string path) {
  std::unique_ptr<FileDevice> device(new FileDevice(std::move(path)));
  device->read_only_ = true;
  ASHLAR_RETURN_IF_ERROR(device->LockShared());
  device->superblock_ = UniqueFd(::openat(device->directory_.get(), "superblock", O_RDONLY | O_CLOEXEC));
  if (!device->superblock_.valid()) return ErrnoStatus(errno, "open " + device->path_ + "/superblock");
  device->has_store_ = true;
  return device;
}

absl::Status FileDevice::LockShared() {
  directory_ = UniqueFd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory_.valid()) return ErrnoStatus(errno, "open log directory " + path_);
  lock_ = UniqueFd(::openat(directory_.get(), "LOCK", O_RDONLY | O_CLOEXEC));
  if (!lock_.valid()) return ErrnoStatus(errno, "open " + path_ + "/LOCK (is this the log.path of a storage node?)");
  if (::flock(lock_.get(), LOCK_SH | LOCK_NB) == 0) return absl::OkStatus();
  std::array<char, 32> holder{};
  if (::pread(lock_.get(), holder.data(), holder.size() - 1, 0) < 0) holder[0] = '\0';
  return absl::UnavailableError(absl::StrCat(path_, " is in use by process ", holder.data(), ": stop that storage node first"));
}

FileDevice::~FileDevice() {
  // The kernel writes from and reads into borrowed bytes until the last operation has ended.
  while (ring_made_ && under_way_ > 0) {
    io_uring_cqe* cqe = nullptr;
    if (io_uring_wait_cqe(&ring_, &cqe) < 0) break;
    delete static_cast<Operation*>(io_uring_cqe_get_data(cqe));
    io_uring_cqe_seen(&ring_, cqe);
    --under_way_;
  }
  if (ring_made_) io_uring_queue_exit(&ring_);
}

absl::Status FileDevice::Lock() {
  if (::mkdir(path_.c_str(), 0750) != 0 && errno != EEXIST) return ErrnoStatus(errno, "make log directory " + path_);
  directory_ = UniqueFd(::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory_.valid()) return ErrnoStatus(errno, "open log directory " + path_);
  lock_ = UniqueFd(::openat(directory_.get(), "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock_.valid()) return ErrnoStatus(errno, "open " + path_ + "/LOCK");
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) != 0) {
    std::array<char, 32> holder{};
    if (::pread(lock_.get(), holder.data(), holder.size() - 1, 0) < 0) holder[0] = '\0';
    return absl::UnavailableError(
        absl::StrCat(path_, " is in use by process ", holder.data(), ": two daemons must not share a log.path"));
  }
  const std::string pid = absl::StrCat(::getpid());
  if (::ftruncate(lock_.get(), 0) != 0) return ErrnoStatus(errno, "truncate " + path_ + "/LOCK");
  return WriteAll(lock_.get(), std::as_bytes(std::span(pid)), 0, path_ + "/LOCK");
}

absl::Status FileDevice::SetUp() {
  struct Close {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  std::unique_ptr<DIR, Close> entries(::opendir(path_.c_str()));
  if (entries == nullptr) return ErrnoStatus(errno, "list " + path_);
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string_view name(entry->d_name);
    struct stat info;
    const bool holds_bytes = ::fstatat(directory_.get(), entry->d_name, &info, 0) == 0 && info.st_size > 0;
    has_store_ = has_store_ || (holds_bytes && (name == "superblock" || name.starts_with("seg-")));
  }
  superblock_ = UniqueFd(::openat(directory_.get(), "superblock", O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!superblock_.valid()) return ErrnoStatus(errno, "open " + path_ + "/superblock");
  event_fd_ = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event_fd_.valid()) return ErrnoStatus(errno, "eventfd");
  if (const int error = io_uring_queue_init(kRingEntries, &ring_, 0); error < 0)
    return ErrnoStatus(-error, "io_uring is needed for the log (see kernel.io_uring_disabled, and the seccomp filter)");
  ring_made_ = true;
  if (const int error = io_uring_register_eventfd(&ring_, event_fd_.get()); error < 0)
    return ErrnoStatus(-error, "register the eventfd with io_uring");
  return absl::OkStatus();
}

absl::Status FileDevice::ReadSuperblock(std::uint32_t copy, disk::Block out) {
  std::fill(out.begin(), out.end(), std::byte{0});
  if (::pread(superblock_.get(), out.data(), out.size(), static_cast<off_t>(copy * disk::kBlockBytes)) < 0)
    return ErrnoStatus(errno, absl::StrCat("read ", path_, "/superblock"));
  return absl::OkStatus();
}

absl::Status FileDevice::WriteSuperblock(std::uint32_t copy, disk::ConstBlock bytes) {
  const std::string what = path_ + "/superblock";
  ASHLAR_RETURN_IF_ERROR(WriteAll(superblock_.get(), bytes, copy * disk::kBlockBytes, what));
  if (::fsync(superblock_.get()) != 0) return ErrnoStatus(errno, "fsync " + what);
  if (::fsync(directory_.get()) != 0) return ErrnoStatus(errno, "fsync " + path_);
  return absl::OkStatus();
}

std::string FileDevice::SegmentPath(std::uint32_t number) const {
  return absl::StrFormat("%s/seg-%08x", path_, number);
}

absl::Status FileDevice::OpenSegment(std::uint32_t number, int flags) {
  const std::string path = SegmentPath(number);
  UniqueFd fd(::open(path.c_str(), flags | (read_only_ ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC, 0600));
  if (!fd.valid() && errno == ENOENT) return absl::DataLossError(path + " is missing: the store has lost a segment");
  if (!fd.valid() && errno == EINVAL)
    return absl::FailedPreconditionError(path + ": this file system has no O_DIRECT; put log.path on ext4 or XFS");
  if (!fd.valid()) return ErrnoStatus(errno, "open " + path);
  if (segments_.size() <= number) segments_.resize(number + 1);
  segments_[number] = std::move(fd);
  return absl::OkStatus();
}

absl::Status FileDevice::CreateSegment(std::uint32_t number, std::uint32_t blocks) {
  const std::string path = SegmentPath(number);
  ASHLAR_RETURN_IF_ERROR(OpenSegment(number, O_CREAT | O_TRUNC));
  const int fd = segments_[number].get();
  const std::uint64_t size = std::uint64_t{blocks} * disk::kBlockBytes;
  if (const int error = ::posix_fallocate(fd, 0, static_cast<off_t>(size)); error != 0)
    return ErrnoStatus(error, "allocate " + path);
  ASHLAR_ASSIGN_OR_RETURN(Mapping zeros, Mapping::Anonymous(kZeroChunk));
  for (std::uint64_t at = 0; at < size; at += kZeroChunk)
    ASHLAR_RETURN_IF_ERROR(WriteAll(fd, zeros.bytes().first(std::min<std::uint64_t>(kZeroChunk, size - at)), at, path));
  if (::fsync(fd) != 0) return ErrnoStatus(errno, "fsync " + path);
  if (::fsync(directory_.get()) != 0) return ErrnoStatus(errno, "fsync " + path_);
  return absl::OkStatus();
}

absl::Status FileDevice::AttachSegment(std::uint32_t number, std::uint32_t blocks) {
  ASHLAR_RETURN_IF_ERROR(OpenSegment(number, 0));
  struct stat info;
  if (::fstat(segments_[number].get(), &info) != 0) return ErrnoStatus(errno, "stat " + SegmentPath(number));
  if (static_cast<std::uint64_t>(info.st_size) != std::uint64_t{blocks} * disk::kBlockBytes)
    return absl::DataLossError(absl::StrCat(SegmentPath(number), " has ", info.st_size, " bytes instead of ",
                                            std::uint64_t{blocks} * disk::kBlockBytes));
  return absl::OkStatus();
}

absl::Status FileDevice::Read(BlockAddress from, std::span<std::byte> out) {
  std::uint64_t at = std::uint64_t{from.block} * disk::kBlockBytes;
  while (!out.empty()) {
    const ssize_t n = ::pread(segments_.at(from.segment).get(), out.data(), out.size(), static_cast<off_t>(at));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0)
      return absl::DataLossError(absl::StrCat("read ", SegmentPath(from.segment), " block ", from.block, ": ",
                                              n < 0 ? std::strerror(errno) : "end of file"));
    out = out.subspan(static_cast<std::size_t>(n));
    at += static_cast<std::uint64_t>(n);
  }
  return absl::OkStatus();
}

absl::Status FileDevice::Quarantine(std::string_view name, std::span<const std::byte> bytes) {
  if (read_only_) return absl::OkStatus();
  const std::string directory = path_ + "/quarantine", path = absl::StrCat(directory, "/", absl::string_view(name.data(), name.size()));
  if (::mkdir(directory.c_str(), 0750) != 0 && errno != EEXIST) return ErrnoStatus(errno, "make " + directory);
  std::size_t files = 0;
  struct Close {
    void operator()(DIR* dir) const { ::closedir(dir); }
  };
  const std::unique_ptr<DIR, Close> entries(::opendir(directory.c_str()));
  while (entries != nullptr && ::readdir(entries.get()) != nullptr) ++files;
  if (files > kMaxQuarantineFiles)
    return absl::ResourceExhaustedError(absl::StrCat(directory, " holds ", files, " files: look at them and move them away"));
  const UniqueFd fd(::open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno == EEXIST ? absl::OkStatus() : ErrnoStatus(errno, "make " + path);
  return WriteAll(fd.get(), bytes, 0, path);
}

absl::Status FileDevice::SubmitWrite(std::uint64_t tag, BlockAddress to,
                                     std::span<const std::span<const std::byte>> parts) {
  auto operation = std::make_unique<Operation>();
  operation->tag = tag;
  for (std::span<const std::byte> part : parts) {
    operation->bytes += part.size();
    auto* base = const_cast<std::byte*>(part.data());
    if (!operation->parts.empty()) {  // neighbours in memory go as one
      iovec& last = operation->parts.back();
      if (static_cast<std::byte*>(last.iov_base) + last.iov_len == base) {
        last.iov_len += part.size();
        continue;
      }
    }
    operation->parts.push_back({.iov_base = base, .iov_len = part.size()});
  }
  return Submit(std::move(operation), to, true);
}

absl::Status FileDevice::SubmitRead(std::uint64_t tag, BlockAddress from, std::span<std::byte> out) {
  auto operation = std::make_unique<Operation>();
  operation->tag = tag;
  operation->bytes = out.size();
  operation->parts.push_back({.iov_base = out.data(), .iov_len = out.size()});
  return Submit(std::move(operation), from, false);
}

absl::Status FileDevice::Submit(std::unique_ptr<Operation> operation, BlockAddress at, bool write) {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  if (sqe == nullptr) return absl::UnavailableError("replica_log: the submission queue of io_uring is full");
  const int fd = segments_.at(at.segment).get();
  const std::uint64_t offset = std::uint64_t{at.block} * disk::kBlockBytes;
  const auto count = static_cast<unsigned>(operation->parts.size());
  if (write)
    io_uring_prep_writev2(sqe, fd, operation->parts.data(), count, offset, RWF_DSYNC);
  else
    io_uring_prep_readv(sqe, fd, operation->parts.data(), count, offset);
  io_uring_sqe_set_data(sqe, operation.release());
  ++under_way_;
  int submitted = io_uring_submit(&ring_);
  while (submitted == -EINTR) submitted = io_uring_submit(&ring_);
  if (submitted < 0 && submitted != -EAGAIN && submitted != -EBUSY)
    return ErrnoStatus(-submitted, "submit to io_uring");
  return absl::OkStatus();  // EAGAIN: it stays in the queue, Reap submits it
}

absl::Status FileDevice::Reap(std::vector<Completion>* done) {
  std::uint64_t drained = 0;
  if (::read(event_fd_.get(), &drained, sizeof(drained)) < 0 && errno != EAGAIN)
    return ErrnoStatus(errno, "read eventfd");
  if (io_uring_sq_ready(&ring_) > 0) {
    const int submitted = io_uring_submit(&ring_);
    if (submitted < 0 && submitted != -EAGAIN && submitted != -EBUSY && submitted != -EINTR)
      return ErrnoStatus(-submitted, "submit to io_uring");
  }
  io_uring_cqe* cqe = nullptr;
  while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
    std::unique_ptr<Operation> operation(static_cast<Operation*>(io_uring_cqe_get_data(cqe)));
    const bool whole = cqe->res >= 0 && static_cast<std::size_t>(cqe->res) == operation->bytes;
    done->push_back({.tag = operation->tag, .error = whole ? 0 : cqe->res < 0 ? -cqe->res : EIO});
    io_uring_cqe_seen(&ring_, cqe);
    --under_way_;
  }
  return absl::OkStatus();
}

}  // namespace ashlar::snode
