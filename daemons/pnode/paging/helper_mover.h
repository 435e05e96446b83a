// The real PageMover: the pnode's side of the mailboxes in injection/helper_protocol.h.
//
// Threads: only the owner. The control area can be written by the program: of what lies there only `done` and `result` are
// read, and nothing is indexed by them.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "daemons/pnode/injection/helper_protocol.h"
#include "daemons/pnode/paging/page_mover.h"

namespace ashlar::pnode {

class HelperMover : public PageMover {
 public:
  // `control` is mapped shared, at least sizeof(HelperControl); it outlives the mover. The event descriptors are the owner's
  // ends of those that the helpers add to.
  struct Parts {
    HelperControl* control = nullptr;
    UniqueFd move_event;
    std::uint32_t staging_pages = 0;  // as given with Attach, not as written in the control area
  };
  explicit HelperMover(Parts parts);

  std::size_t max_batch() const override { return kMaxMovePages; }
  std::uint32_t staging_pages() const override { return staging_pages_; }
  void StartMove(std::span<const MoveRequest> requests) override;
  bool MoveDone() override;
  int MoveResult(std::size_t index) const override;
  bool StartUnshare(std::span<const std::uint64_t> addresses) override;
  bool Arm() override;
  void Disarm() override;
  int event_fd() const override { return move_event_.get(); }

 private:
  HelperControl& control_;
  UniqueFd move_event_;
  std::uint32_t staging_pages_;
  std::uint32_t move_command_ = 0;  // last one given
  bool move_open_ = false;
  std::uint32_t unshare_command_ = 0;
  bool armed_ = false;
};

}  // namespace ashlar::pnode
