// Seam: which pages leave next. One per program; no I/O, so a recorded trace can drive it.
#pragma once

#include <cstdint>
#include <span>

#include "absl/functional/function_ref.h"
#include "daemons/pnode/paging/resident_set.h"

namespace ashlar::pnode {

// Why a page came in: the only thing known of its use, because there is no access bit.
struct Arrival {
  bool stream = false;      // fetched for someone who walks: probably used once
  std::uint8_t returns = 0;  // how often in a row it came back soon after it was evicted: evicted too early. At most kMaxReturns

  static constexpr std::uint8_t kMaxReturns = 5;
};

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;

  virtual void OnResident(std::uint32_t index, Arrival arrival) = 0;
  virtual void OnListed(std::uint32_t index) = 0;  // may be chosen again: MOVE refused it, or it is pinned no longer
  virtual void OnDrop(std::uint32_t index) = 0;    // left the set, or may not be chosen (pinned)

  // Takes neighbours to evict together out of the order; returns how many. `find` gives the member that holds a page of the
  // space, or ResidentSet::kNone. 0: nothing can be chosen.
  virtual std::size_t ChooseRun(absl::FunctionRef<std::uint32_t(PageNumber)> find, std::span<std::uint32_t> into) = 0;
};

}  // namespace ashlar::pnode
