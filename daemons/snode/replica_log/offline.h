// Looks into a store that no daemon uses: every batch of it, and what a start would find. Changes nothing. The decoder is
// the daemon's.
//
// Threads: one thread at a time; everything waits for the disk.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemons/snode/replica_log/log_device.h"
#include "daemons/snode/replica_log/superblock.h"

namespace ashlar::snode {

// A version that does not verify.
struct BadEntry {
  std::uint32_t segment = 0, block = 0;
  disk::Entry entry{};
  std::uint32_t got_crc = 0;
  bool live = false;              // the log has no other copy of what it keeps of that page
  std::uint64_t held_version = 0;  // what it keeps of that page; 0 = nothing
};

struct StoreReport {
  Superblock superblock;
  std::uint32_t sealed = 0, unsealed = 0, free = 0;  // segments; free: never used
  std::uint64_t batches = 0, pages = 0;             // all, dead ones too
  std::uint64_t live_pages = 0, lost_pages = 0;     // lost: known to be, from before
  std::uint64_t spaces = 0, highest_seq = 0;
  std::vector<BadEntry> bad;
  std::vector<std::string> damage;                  // of the log itself
  bool loss() const;                                // a live page or a batch is lost
};

// Reads everything. Errors: those of a start that must be refused (a missing segment is one), with words.
absl::StatusOr<StoreReport> VerifyStore(LogDevice& device);

// Each batch of a segment that its headers lead to, in order. `data`: its data blocks; empty if they cannot be read.
using BatchVisitor = std::function<void(const disk::DecodedHeader& batch, std::span<const std::byte> data)>;
absl::Status VisitBatches(LogDevice& device, const Superblock& superblock, std::uint32_t segment, const BatchVisitor& visit);

}  // namespace ashlar::snode
