// The disk as the replica log sees it: a few superblock copies and numbered segments of 4 KiB blocks. A seam:
// FileDevice is the real one (files, io_uring), SimDisk the one of the tests (loses, tears, fails).
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "daemons/snode/replica_log/batch_codec.h"

namespace ashlar::snode {

struct BlockAddress {
  std::uint32_t segment = 0;
  std::uint32_t block = 0;
};

class LogDevice {
 public:
  struct Completion {
    std::uint64_t tag = 0;
    int error = 0;  // errno; EIO for a short transfer; 0 = all bytes moved, and for a write: durable
  };
  virtual ~LogDevice() = default;

  // --- start; these wait for the disk ---
  // Whether anything of a store is there already: a superblock or a segment.
  virtual bool HasStore() const = 0;
  virtual absl::Status ReadSuperblock(std::uint32_t copy, disk::Block out) = 0;  // a copy never written reads as zeros
  virtual absl::Status WriteSuperblock(std::uint32_t copy, disk::ConstBlock bytes) = 0;  // durable on return
  // Makes segment `number` new, written through with zeros and durable, whatever was there.
  virtual absl::Status CreateSegment(std::uint32_t number, std::uint32_t blocks) = 0;
  // Opens an existing one. DataLoss: it is missing or has another size.
  virtual absl::Status AttachSegment(std::uint32_t number, std::uint32_t blocks) = 0;
  // Reads whole blocks and waits.
  virtual absl::Status Read(BlockAddress from, std::span<std::byte> out) = 0;

  // Keeps a copy of bytes that could not be believed, for people; once: a name that is there is left as it is.
  virtual absl::Status Quarantine(std::string_view name, std::span<const std::byte> bytes) = 0;

  // --- data path; these return at once. Bytes are borrowed until the completion; all are aligned to 4 KiB ---
  // `parts` follow one another on disk. At most kMaxParts.
  static constexpr std::size_t kMaxParts = disk::kMaxEntries + 1;
  virtual absl::Status SubmitWrite(std::uint64_t tag, BlockAddress to,
                                   std::span<const std::span<const std::byte>> parts) = 0;
  virtual absl::Status SubmitRead(std::uint64_t tag, BlockAddress from, std::span<std::byte> out) = 0;
  // Hands what was submitted to the disk, appends what finished to `done`. Never waits.
  virtual absl::Status Reap(std::vector<Completion>* done) = 0;
  // Readable when Reap has something.
  virtual int event_fd() const = 0;
};

}  // namespace ashlar::snode
