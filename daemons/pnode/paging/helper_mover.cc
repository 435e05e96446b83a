#include "daemons/pnode/paging/helper_mover.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "common/base/check.h"

namespace ashlar::pnode {
namespace {

// The word lies in a mapping of two processes, so the futex is not private.
void FutexWake(SharedWord& word) { syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0); }

}  // namespace

HelperMover::HelperMover(Parts parts)
    : control_(*parts.control), move_event_(std::move(parts.move_event)), staging_pages_(parts.staging_pages) {}

void HelperMover::StartMove(std::span<const MoveRequest> requests) {
  ASHLAR_CHECK(!move_open_ && !requests.empty() && requests.size() <= kMaxMovePages, "one batch at a time; count={}",
               requests.size());
  MoveMailbox& mailbox = control_.move;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    mailbox.entries[i].address = requests[i].address;
    mailbox.entries[i].victim_slot = requests[i].slot;
    mailbox.entries[i].result.store(kResultPending, std::memory_order_relaxed);
  }
  mailbox.count = static_cast<std::uint32_t>(requests.size());
  move_open_ = true;
  mailbox.command.store(++move_command_, std::memory_order_seq_cst);
  FutexWake(mailbox.command);
}

bool HelperMover::MoveDone() {
  if (!move_open_ || control_.move.done.load(std::memory_order_acquire) != move_command_) return false;
  move_open_ = false;
  return true;
}

int HelperMover::MoveResult(std::size_t index) const {
  std::uint32_t result = control_.move.entries[index].result.load(std::memory_order_acquire);
  // A batch that is done has reached all: anything else is a program that writes where it should not. Its page stays.
  return result == kResultPending || result > 4095 ? EAGAIN : static_cast<int>(result);
}

bool HelperMover::StartUnshare(std::span<const std::uint64_t> addresses) {
  UnshareMailbox& mailbox = control_.unshare;
  if (mailbox.done.load(std::memory_order_acquire) != unshare_command_) return false;
  std::size_t count = std::min<std::size_t>(addresses.size(), kMaxUnsharePages);
  for (std::size_t i = 0; i < count; ++i) {
    mailbox.entries[i].address = addresses[i];
    mailbox.entries[i].result.store(kResultPending, std::memory_order_relaxed);
  }
  mailbox.count = static_cast<std::uint32_t>(count);
  mailbox.command.store(++unshare_command_, std::memory_order_seq_cst);
  FutexWake(mailbox.command);
  return true;
}

bool HelperMover::Arm() {
  if (!move_open_) return false;
  armed_ = true;
  control_.move.owner_waits.store(1, std::memory_order_seq_cst);
  return control_.move.done.load(std::memory_order_seq_cst) == move_command_;
}

void HelperMover::Disarm() {
  if (!armed_) return;
  armed_ = false;
  control_.move.owner_waits.store(0, std::memory_order_relaxed);
  std::uint64_t count = 0;
  (void)!read(move_event_.get(), &count, sizeof(count));  // non-blocking; a stray count is harmless
}

}  // namespace ashlar::pnode
