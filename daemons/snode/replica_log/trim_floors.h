// Which versions of which pages of one space were trimmed: disjoint page ranges, each with the highest version it
// hides. A floor is kept as long as the log may still hold, or be sent, versions below it.
#pragma once

#include <cstdint>
#include <map>

#include "common/base/ids.h"

namespace ashlar::snode {

class TrimFloors {
 public:
  // Pages [first, first + count) hide versions up to `upto`. `written_seq`: batch_seq the trim was first written in.
  void Add(PageNumber first, std::uint64_t count, Version upto, std::uint64_t written_seq);
  // The highest version hidden at `page`; 0 = none.
  Version At(PageNumber page) const;
  // Forgets floors whose trim was first written before `seq`.
  void ForgetBefore(std::uint64_t seq);
  std::size_t size() const { return ranges_.size(); }

 private:
  struct Range {
    std::uint64_t end = 0;
    Version upto;
    std::uint64_t written_seq = 0;
  };
  using Ranges = std::map<std::uint64_t, Range>;  // by first page; disjoint
  void SplitAt(std::uint64_t page);

  Ranges ranges_;
};

}  // namespace ashlar::snode
