// Numbers for spaces, made by a pnode and never used twice, by it or by another:
//
//   63            40 39                                   0
//   | SpacePrefixOf |  counter, from 1, stored in blocks  |
//
// A block of kBlock is stored before its first number is given out, so a crash skips numbers and repeats none. The
// counter never starts below 64 × the seconds since 1970: a pnode that lost its state directory goes on above what it
// used before, unless it started more than 64 programs a second ever since (the mnodes' and snodes' check remains).
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/config/state_directory.h"

namespace ashlar::config {

// The upper 24 bits of the pnode's number. A topology in which two pnodes share it is refused at load.
constexpr std::uint64_t SpacePrefixOf(NodeId pnode) { return pnode.value() >> 40; }

class SpaceIds {
 public:
  static constexpr std::uint64_t kBlock = 256;
  static constexpr std::uint64_t kCounterEnd = std::uint64_t{1} << 40;

  // `directory` must outlive this. Errors as for SyncNextIncarnation.
  static absl::StatusOr<SpaceIds> Open(StateDirectory& directory, NodeId pnode, std::uint64_t wall_clock_ns);

  // Waits for the disk once per kBlock calls. After an error the next call tries again; ResourceExhausted when 2^40
  // numbers are used.
  absl::StatusOr<SpaceId> Take();

 private:
  SpaceIds(StateDirectory& directory, NodeId pnode, std::uint64_t next)
      : directory_(&directory), pnode_(pnode), next_(next), reserved_end_(next) {}

  StateDirectory* directory_;
  NodeId pnode_;
  std::uint64_t next_;          // counter of the next id
  std::uint64_t reserved_end_;  // stored: ids below it may have been given out
};

}  // namespace ashlar::config
