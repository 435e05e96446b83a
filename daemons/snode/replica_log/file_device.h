// The real LogDevice: files in one directory, written with O_DIRECT and RWF_DSYNC through io_uring.
//
//   <path>/LOCK            flock; holds the pid
//   <path>/superblock      4 copies of 4 KiB
//   <path>/seg-0000002a    one file per segment, hexadecimal
//   <path>/quarantine/     copies of what could not be believed; never read or deleted here, at most kMaxQuarantineFiles
//
// Threads: one thread at a time.
#pragma once

#include <liburing.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "daemons/snode/replica_log/log_device.h"

namespace ashlar::snode {

class FileDevice : public LogDevice {
 public:
  // Makes the directory if it is missing (0750) and takes the lock. Unavailable: another process holds it (exit 75).
  static absl::StatusOr<std::unique_ptr<FileDevice>> Open(std::string path);
  // For people who look: nothing is made or written, and other readers may look at the same time. Unavailable: a daemon
  // uses the store. NotFound: there is none.
  static absl::StatusOr<std::unique_ptr<FileDevice>> OpenReadOnly(std::string path);
  ~FileDevice() override;

  bool HasStore() const override { return has_store_; }
  absl::Status ReadSuperblock(std::uint32_t copy, disk::Block out) override;
  absl::Status WriteSuperblock(std::uint32_t copy, disk::ConstBlock bytes) override;
  absl::Status CreateSegment(std::uint32_t number, std::uint32_t blocks) override;
  absl::Status AttachSegment(std::uint32_t number, std::uint32_t blocks) override;
  absl::Status Read(BlockAddress from, std::span<std::byte> out) override;
  absl::Status Quarantine(std::string_view name, std::span<const std::byte> bytes) override;
  absl::Status SubmitWrite(std::uint64_t tag, BlockAddress to,
                           std::span<const std::span<const std::byte>> parts) override;
  absl::Status SubmitRead(std::uint64_t tag, BlockAddress from, std::span<std::byte> out) override;
  absl::Status Reap(std::vector<Completion>* done) override;
  int event_fd() const override { return event_fd_.get(); }

 private:
  // What the kernel still reads while an operation is under way.
  struct Operation {
    std::uint64_t tag = 0;
    std::size_t bytes = 0;
    std::vector<iovec> parts;
  };
  explicit FileDevice(std::string path) : path_(std::move(path)) {}
  absl::Status Lock();
  absl::Status LockShared();
  absl::Status SetUp();
  absl::Status OpenSegment(std::uint32_t number, int flags);
  std::string SegmentPath(std::uint32_t number) const;
  absl::Status Submit(std::unique_ptr<Operation> operation, BlockAddress at, bool write);

  std::string path_;
  UniqueFd directory_;
  UniqueFd lock_;
  UniqueFd superblock_;
  UniqueFd event_fd_;
  std::vector<UniqueFd> segments_;  // by number; closed for those not attached
  io_uring ring_{};
  bool read_only_ = false;  // no ring: the data path's calls are not to be used
  bool ring_made_ = false;
  bool has_store_ = false;
  std::size_t under_way_ = 0;
};

}  // namespace ashlar::snode
