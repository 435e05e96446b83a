// Seam: which pages leave next. One per program; no I/O, so a recorded trace can drive it.
#pragma once

#include <cstdint>
#include <span>

#include "absl/functional/function_ref.h"
#include "daemons/pnode/paging/resident_set.h"

namespace ashlar::pnode {

class EvictionPolicy {
 public:
  virtual ~EvictionPolicy() = default;

  virtual void OnResident(std::uint32_t index) = 0;  // came in, or was refused by MOVE
  virtual void OnRefault(std::uint32_t index) = 0;   // came back from the victim area: it had been evicted too early
  virtual void OnDrop(std::uint32_t index) = 0;      // left the set, or may not be chosen (pinned)

  // Takes neighbours to evict together out of the order; returns how many. `find` gives the member that holds a page of the
  // space, or ResidentSet::kNone. 0: nothing can be chosen.
  virtual std::size_t ChooseRun(absl::FunctionRef<std::uint32_t(PageNumber)> find, std::span<std::uint32_t> into) = 0;
};

}  // namespace ashlar::pnode
