// Numbers that cannot be mistaken for one another, and the sizes everything is cut into.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace ashlar {

// An integer that cannot be mistaken for another. It has no arithmetic on purpose.
template <typename Tag, typename Integer = std::uint64_t>
class StrongId {
 public:
  constexpr StrongId() = default;
  constexpr explicit StrongId(Integer value) : value_(value) {}
  constexpr Integer value() const { return value_; }
  friend constexpr auto operator<=>(const StrongId&, const StrongId&) = default;
  template <typename H>
  friend H AbslHashValue(H h, StrongId id) {
    return H::combine(std::move(h), id.value_);
  }

 private:
  Integer value_ = 0;
};

using SpaceId = StrongId<struct SpaceIdTag>;          // one program's remote address space; never reused; 0 = none
using PageNumber = StrongId<struct PageNumberTag>;    // a page's number in its space; not an address
using Epoch = StrongId<struct EpochTag>;              // of a space; only grows; 0 = not joined
using NodeId = StrongId<struct NodeIdTag>;            // first 8 bytes of SHA-256(cluster '/' id); 0 = none
using Incarnation = StrongId<struct IncarnationTag>;  // of a node; grows at each start; 0 = unknown
using Version = StrongId<struct VersionTag>;          // of a page, 48 bit; grows at each write-back; 0 = never written back

constexpr std::size_t kPageBytes = 4096;
constexpr std::size_t kExtentPages = 1024;
constexpr std::size_t kExtentBytes = kExtentPages * kPageBytes;  // 4 MiB, what an mnode lends
constexpr std::uint64_t kMaxVersion = (std::uint64_t{1} << 48) - 1;

// The extent of a space that a page lies in, and where in it.
constexpr std::uint64_t ExtentOf(PageNumber page) { return page.value() / kExtentPages; }
constexpr std::uint64_t OffsetInExtent(PageNumber page) { return (page.value() % kExtentPages) * kPageBytes; }

}  // namespace ashlar
