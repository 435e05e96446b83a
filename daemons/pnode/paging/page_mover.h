// Seam to the helper threads inside the program that take pages out of it. helper_mover.h is the real one.
//
// Threads: only the owner. One move batch at a time; un-share batches are independent of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace ashlar::pnode {

struct MoveRequest {
  std::uint64_t address = 0;
  std::uint32_t slot = 0;  // of the victim area; gets the page's final bytes
};

class PageMover {
 public:
  virtual ~PageMover() = default;

  virtual std::size_t max_batch() const = 0;
  // Pages the staging area may hold resident: they count on the limit.
  virtual std::uint32_t staging_pages() const = 0;

  virtual void StartMove(std::span<const MoveRequest> requests) = 0;
  // True once, when the batch's results may be read. A stopped program may never answer.
  virtual bool MoveDone() = 0;
  // 0, or errno: EBUSY pinned or shared, EAGAIN the map is changing, EINVAL can't move from there, ENOENT nothing there.
  virtual int MoveResult(std::size_t index) const = 0;

  // Makes copy-on-write-shared pages the program's own, so that they can be moved later. False: the last ones are not done.
  virtual bool StartUnshare(std::span<const std::uint64_t> addresses) = 0;

  // Before a sleep: after Arm() a batch that ends makes event_fd() readable. True: one has ended already, don't sleep.
  virtual bool Arm() = 0;
  virtual void Disarm() = 0;
  virtual int event_fd() const = 0;  // -1 = none
};

}  // namespace ashlar::pnode
