// First in, first out, with the victim area as the reference bit: a page that came back from there goes round once more.
// It takes the aligned 64 KiB window around the oldest page, because moving runs costs a tenth of moving single pages.
#pragma once

#include "daemons/pnode/paging/eviction_policy.h"

namespace ashlar::pnode {

class FifoPolicy : public EvictionPolicy {
 public:
  static constexpr std::uint64_t kWindowPages = 16;

  explicit FifoPolicy(ResidentSet& pages) : pages_(pages) {}
  void OnResident(std::uint32_t index) override;
  void OnRefault(std::uint32_t index) override { pages_[index].hot = true; }
  void OnDrop(std::uint32_t index) override;
  std::size_t ChooseRun(absl::FunctionRef<std::uint32_t(PageNumber)> find, std::span<std::uint32_t> into) override;

 private:
  ResidentSet& pages_;
  std::uint32_t head_ = ResidentSet::kNone;  // oldest
  std::uint32_t tail_ = ResidentSet::kNone;
  std::uint32_t clock_ = 0;  // counts arrivals, wraps
  std::uint32_t listed_ = 0;
};

}  // namespace ashlar::pnode
