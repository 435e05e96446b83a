// Do an area's misses look like someone walking upwards through it? If so, how many pages to fetch along. Several walks may
// go on in one area (threads that share a buffer), among misses that belong to none. Pure arithmetic; one per area. Blind
// prefetch costs random programs 20–40 %, so nothing is fetched along without proof.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

namespace ashlar::pnode {

class StreamDetector {
 public:
  static constexpr std::uint32_t kFirstWindow = 8;
  static constexpr std::uint32_t kMaxWindow = 16;  // pages; the knee of COPY's batch curve (10-paging §11)
  static constexpr std::uint32_t kMaxZeroWindow = 64;  // where nothing has to come over the wire, fewer faults are worth more
  static constexpr std::uint32_t kProof = 2;       // misses in a row that each continue the last one
  static constexpr std::size_t kStreams = 8;       // walks followed at one time

  // A miss at `page`. Returns how many pages from it on to fetch, itself included, at most `most`: 1 = no stream. The window
  // doubles with each step up to there.
  std::uint32_t OnMiss(std::uint64_t page, std::uint32_t most = kMaxWindow) {
    ++misses_;
    Stream& stream = Continued(page);
    stream.steps = stream.used == 0 ? 0 : std::min(stream.steps + 1, 1000u);
    const std::uint32_t window = stream.steps < kProof ? 1 : std::min(kFirstWindow << std::min(stream.steps - kProof, 8u), most);
    stream.expected = page + window;
    stream.used = misses_;
    return window;
  }

 private:
  static constexpr std::uint64_t kSlack = 2;  // pages a walk may skip: resident ones, or fetched by another
  static constexpr std::uint64_t kPatience = 256;  // misses without use after which even a proven walk makes room

  struct Stream {
    std::uint64_t expected = 0;  // page that continues it
    std::uint64_t used = 0;      // misses_ at its last step; 0 = free
    std::uint32_t steps = 0;
  };

  // The walk that `page` continues; else a free one, for which it takes the least worth keeping: unproven, then oldest.
  Stream& Continued(std::uint64_t page) {
    Stream* worst = &streams_[0];
    for (Stream& stream : streams_) {
      if (stream.used != 0 && page >= stream.expected && page - stream.expected <= kSlack) return stream;
      if (Worth(stream) < Worth(*worst)) worst = &stream;
    }
    *worst = Stream{};
    return *worst;
  }
  std::uint64_t Worth(const Stream& stream) const {
    const bool proven = stream.steps >= kProof && misses_ - stream.used <= kPatience;
    return stream.used + (proven ? std::uint64_t{1} << 63 : 0);
  }

  std::array<Stream, kStreams> streams_;
  std::uint64_t misses_ = 0;
};

}  // namespace ashlar::pnode
