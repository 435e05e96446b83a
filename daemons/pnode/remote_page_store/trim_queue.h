// Trims of one space that its home has not confirmed yet, in order behind the write-backs given before them. Pure.
//
// Write-backs have rising tickets. A trim waits until no write-back with an older ticket is under way; newer ones carry
// higher versions and may pass it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>

#include "common/fit/messages.h"
#include "daemons/pnode/paging/page_store.h"

namespace ashlar::pnode {

class TrimQueue {
 public:
  explicit TrimQueue(std::size_t max_ranges) : max_ranges_(max_ranges) {}

  // `after_ticket`: of the last write-back given so far. A range that touches the last one queued is joined to it.
  // False: the bound is reached and the range was dropped; the home keeps some garbage until the space ends.
  bool Add(const TrimRange& range, std::uint64_t after_ticket);

  // Fills `out` with what may be sent while `oldest_ticket` is the oldest write-back under way (UINT64_MAX: none). They
  // stay queued until Confirm.
  std::size_t Peek(std::uint64_t oldest_ticket, std::span<fit::wire::TrimRange> out);
  void Confirm(std::size_t count);  // the first `count`, as Peek gave them
  void SendAgain() { taken_ = 0; }  // they were not confirmed
  void Clear() { queue_.clear(), taken_ = 0; }

  std::size_t size() const { return queue_.size(); }
  bool empty() const { return queue_.empty(); }

 private:
  struct Entry {
    TrimRange range;
    std::uint64_t after_ticket = 0;
  };
  std::deque<Entry> queue_;
  std::size_t taken_ = 0;  // the first ones, under way: not to be changed
  const std::size_t max_ranges_;
};

}  // namespace ashlar::pnode
