// A LogDevice in memory, for tests. Fault model: a write is pending until the test completes it, in any order. A crash
// keeps any subset of the 512-byte sectors of pending writes, as a power cut does to a disk that honours flushes; what
// completed stays. Writes may fail with EIO, having reached the medium in part or whole; so may reads of chosen blocks. Bytes can be damaged by hand.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/base/unique_fd.h"
#include "daemons/snode/replica_log/log_device.h"

namespace ashlar::snode {

// What survives a crash. It outlives the SimDisk that writes it.
struct SimMedium {
  std::vector<std::vector<std::byte>> superblocks = std::vector<std::vector<std::byte>>(4);
  std::map<std::uint32_t, std::vector<std::byte>> segments;
  std::map<std::string, std::vector<std::byte>> quarantine;
};

class SimDisk : public LogDevice {
 public:
  static constexpr std::size_t kSectorBytes = 512;
  // Whether sector `sector` of pending write `write` (0 = oldest) reached the medium before the crash.
  using KeepSector = std::function<bool(std::size_t write, std::size_t sector)>;

  explicit SimDisk(SimMedium* medium) : medium_(*medium) {}

  bool HasStore() const override;
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
  int event_fd() const override { return -1; }

  // true (default): writes complete at the next Reap. false: the test completes them.
  void set_auto_complete(bool on) { auto_complete_ = on; }
  std::size_t pending_writes() const { return pending_.size(); }
  BlockAddress PendingAt(std::size_t i) const { return pending_.at(i).to; }  // where pending write `i` begins
  // Makes pending write `i` durable, or fails it with `error` (its bytes reach the medium all the same: the worst
  // case).
  void Complete(std::size_t i, int error = 0);
  // The next `count` writes to complete fail with EIO.
  void FailNextWrites(int count) { fail_writes_ = count; }
  // The power goes when the first write of a start is submitted: the start ends as if the disk never answered.
  void set_crash_in_start(KeepSector keep) { crash_in_start_ = std::move(keep), auto_complete_ = false; }
  // Reads submitted while on wait; what they return is read when they are released.
  void set_hold_reads(bool on) { hold_reads_ = on; }
  void ReleaseReads();
  // Writes that touch this block fail with EIO from now on.
  void FailWritesTo(std::uint32_t segment, std::size_t block) { unwritable_.insert({segment, static_cast<std::uint32_t>(block)}); }
  // Reads that touch this block fail with EIO from now on.
  void FailReadsOf(BlockAddress block) { unreadable_.insert({block.segment, block.block}); }
  // The power goes. The object is of no further use: make another on the same medium.
  void Crash(const KeepSector& keep);
  std::uint64_t writes_completed() const { return writes_completed_; }

 private:
  struct PendingWrite {
    std::uint64_t tag;
    BlockAddress to;
    std::vector<std::byte> bytes;
  };
  struct HeldRead {
    std::uint64_t tag;
    BlockAddress from;
    std::span<std::byte> out;
  };
  void Persist(const PendingWrite& write);

  SimMedium& medium_;
  std::deque<PendingWrite> pending_;
  std::vector<Completion> completed_;
  KeepSector crash_in_start_;
  std::vector<HeldRead> held_reads_;
  bool hold_reads_ = false;
  bool auto_complete_ = true;
  bool crashed_ = false;
  int fail_writes_ = 0;
  std::set<std::pair<std::uint32_t, std::uint32_t>> unreadable_, unwritable_;
  std::uint64_t writes_completed_ = 0;
};

}  // namespace ashlar::snode
