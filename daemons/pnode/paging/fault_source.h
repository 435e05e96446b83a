// Seam to one process's memory: its userfaultfd and what /proc tells of it. uffd_source.h is the real one; the simulation
// has a model of an mm.
//
// Threads: only the owner. Nothing here blocks, and nothing here may touch managed memory.
#pragma once

#include <errno.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "daemons/pnode/paging/area_map.h"

namespace ashlar::pnode {

class FaultSource;

struct MemoryEvent {
  enum class Kind : std::uint8_t {
    kFault,   // a thread waits for the page at range.start
    kRemove,  // DONTNEED, FREE or REMOVE of `range`; the zap comes after
    kUnmap,   // `range` is gone already, and may have been mapped anew
    kRemap,   // what was at `range` is at `to` now
    kFork,    // `child` is the new process's memory
  };
  Kind kind = Kind::kFault;
  AddressRange range;
  std::uint64_t to = 0;
  bool write = false;
  std::uint32_t thread = 0;  // kFault: who waits, as its own pid namespace names it; 0 = unknown
  std::unique_ptr<FaultSource> child;
};

class FaultSource {
 public:
  struct Filled {
    int error = 0;          // errno of the first page that was not filled; 0 = all were
    std::size_t pages = 0;  // filled before that
  };

  virtual ~FaultSource() = default;

  // Appends what is waiting to be read, at most kMaxRead. Returns how many; 0 = nothing now.
  static constexpr int kMaxRead = 16;
  virtual int Read(std::vector<MemoryEvent>& into) = 0;

  // Puts whole pages at `address`, never over a page that is there (EEXIST). EAGAIN: read events first. ENOENT, EINVAL: not
  // (any more) registered there. ESRCH: the process's memory is gone.
  virtual Filled Copy(std::uint64_t address, std::span<const std::byte> bytes, bool wake) = 0;
  // The same with the kernel's zero page; wakes.
  virtual int ZeroFill(std::uint64_t address) = 0;
  // Whether the kernel has begun a change of the map (unmap, mremap, fork, madvise) whose event was not read yet, or whose
  // thread has not gone on since. False: all that has changed was read.
  virtual bool Changing() = 0;
  // 0: the range lies in one mapping and is registered. ENOENT: it does not. EAGAIN: Changing. ESRCH: gone.
  virtual int CheckRegistered(AddressRange range) = 0;
  // Threads that wait for pages of the range fault again.
  virtual void Wake(AddressRange range) = 0;

  // From now on first touches inside arrive here as faults. 0 or errno.
  virtual int Register(AddressRange range) = 0;
  // Appends the parts of the range whose pages are in memory or in swap. 0 or errno.
  virtual int FindPresent(AddressRange range, std::vector<AddressRange>& into) = 0;
  // Private anonymous writable mappings that may be managed. 0 or errno; a child without a known pid answers ESRCH.
  virtual int ListCandidates(std::vector<AddressRange>& into) = 0;
  // The mapping that holds the address, if it is private anonymous memory of any protection; size 0: none.
  virtual AddressRange FindMapping(std::uint64_t address) = 0;
  // Anonymous pages in memory; 0 = unknown. Cheap.
  virtual std::uint64_t ResidentAnonymousPages() = 0;
  // Whether every thread is seen outside of a call that drops pages. Not cheap.
  virtual bool NoThreadDropsPages() = 0;
  virtual bool ThreadAlive(std::uint32_t thread) = 0;
  // The memory is gone: exit or exec.
  virtual bool Gone() = 0;

  // Readable when Read has something; -1 = none.
  virtual int fd() const = 0;
  // Readable when the process has ended; -1 = none.
  virtual int process_fd() const = 0;
};

// Appends the parts of the range that are registered, in one mapping or in several. False: Changing.
inline bool FindRegistered(FaultSource& source, AddressRange range, std::vector<AddressRange>& into) {
  const int error = source.CheckRegistered(range);
  if (error == EAGAIN) return false;
  if (error == 0) into.push_back(range);
  if (error == 0 || error == ESRCH || range.size() <= kPageBytes) return true;
  const std::uint64_t middle = range.start + range.size() / kPageBytes / 2 * kPageBytes;
  return FindRegistered(source, {range.start, middle}, into) && FindRegistered(source, {middle, range.end}, into);
}

}  // namespace ashlar::pnode
