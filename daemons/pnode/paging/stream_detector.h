// Does an area's sequence of misses look like someone walking upwards through it? If so, how many pages to fetch along.
// Pure arithmetic; one per area. Blind prefetch costs random programs 20–40 %, so nothing is fetched along without proof.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ashlar::pnode {

class StreamDetector {
 public:
  static constexpr std::uint32_t kFirstWindow = 8;
  static constexpr std::uint32_t kMaxWindow = 16;  // pages; the knee of COPY's batch curve (10-paging §11)
  static constexpr std::uint32_t kProof = 2;       // misses in a row that each continue the last one

  // A miss at `page`. Returns how many pages from it on to fetch, itself included: 1 = no stream.
  std::uint32_t OnMiss(std::uint64_t page) {
    bool continues = page >= expected_ && page - expected_ <= kSlack && expected_ != 0;
    steps_ = continues ? std::min(steps_ + 1, 1000u) : 0;
    window_ = steps_ < kProof ? 1 : steps_ == kProof ? kFirstWindow : kMaxWindow;
    expected_ = page + window_;
    return window_;
  }

 private:
  static constexpr std::uint64_t kSlack = 2;  // pages a stream may skip: two threads that overtake each other, resident pages

  std::uint64_t expected_ = 0;  // page that continues the stream; 0 = none yet
  std::uint32_t steps_ = 0;
  std::uint32_t window_ = 1;
};

}  // namespace ashlar::pnode
