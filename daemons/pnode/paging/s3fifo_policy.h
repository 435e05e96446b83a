// Three queues after S3-FIFO (Yang et al., SOSP '23), with the return of an evicted page in place of the access bit that
// userfaultfd does not have:
//   stream    fetched for a walk: leaves first, so a long scan recycles its own pages behind the cursor;
//   fresh     new pages: leave before those that have proved themselves;
//   returned  came back soon after eviction: stay 1, 3, 7 … 31 rounds longer, the more the more often they came back.
// One run in kProbe is not taken from the streams though they would do: so pages that nobody uses any more leave in the end.
// It takes the aligned 64 KiB window around the oldest page, because moving runs costs a tenth of moving single pages.
#pragma once

#include <array>

#include "daemons/pnode/paging/eviction_policy.h"

namespace ashlar::pnode {

class S3FifoPolicy : public EvictionPolicy {
 public:
  static constexpr std::uint64_t kWindowPages = 16;
  static constexpr std::uint32_t kStreamShare = 32;  // so much of all pages may belong to streams before they pay first:
                                                     // what was fetched for a walk must live until the walk arrives
  static constexpr std::uint32_t kFreshShare = 20;   // so much may be fresh before they pay for the returned ones
  static constexpr std::uint32_t kProbe = 16;

  explicit S3FifoPolicy(ResidentSet& pages) : pages_(pages) {}
  void OnResident(std::uint32_t index, Arrival arrival) override;
  void OnListed(std::uint32_t index) override;
  void OnDrop(std::uint32_t index) override;
  std::size_t ChooseRun(absl::FunctionRef<std::uint32_t(PageNumber)> find, std::span<std::uint32_t> into) override;

 private:
  enum Queue : std::uint8_t { kFresh, kStream, kReturned };
  struct List {
    std::uint32_t head = ResidentSet::kNone;  // oldest
    std::uint32_t tail = ResidentSet::kNone;
    std::uint32_t clock = 0;  // counts arrivals, wraps
    std::uint32_t size = 0;
  };

  Queue Source();
  void PassRounds(List& list);

  ResidentSet& pages_;
  std::array<List, 3> lists_;
  std::uint32_t stream_runs_ = 0;
};

}  // namespace ashlar::pnode
