// Registered memory that counts who uses it, and the domain that makes it for a backend without a NIC.
//
// Threads: one at a time. Invariant: a region outlives each request and window that names it; destroying it earlier
// would let a peer write into memory that somebody else owns by then, so it is checked.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "common/base/check.h"
#include "common/fabric/contract.h"

namespace ashlar::fabric {

// Every Region that reaches an endpoint of ours is one of these: a Region is made by its Domain only.
class CountedRegion : public Region {
 public:
  CountedRegion(const Domain* domain, std::span<std::byte> bytes) : domain_(domain), bytes_(bytes) {}
  ~CountedRegion() override {
    ASHLAR_CHECK(uses_ == 0, "a region must outlive what was posted or granted on it; uses={}", uses_);
  }
  CountedRegion(const CountedRegion&) = delete;
  CountedRegion& operator=(const CountedRegion&) = delete;

  std::span<std::byte> bytes() const override { return bytes_; }
  const Domain* domain() const { return domain_; }
  std::uint64_t uses() const { return uses_; }
  void Pin() { ++uses_; }
  void Unpin() {
    ASHLAR_CHECK(uses_ > 0, "unpinned more often than pinned");
    --uses_;
  }

 private:
  const Domain* domain_;  // who made it; compared, never followed
  std::span<std::byte> bytes_;
  std::uint64_t uses_ = 0;
};

class PlainDomain final : public Domain {
 public:
  absl::StatusOr<std::unique_ptr<Region>> Register(std::span<std::byte> bytes) override {
    if (bytes.empty()) return absl::InvalidArgumentError("fabric: a region needs at least one byte");
    return std::make_unique<CountedRegion>(this, bytes);
  }
};

}  // namespace ashlar::fabric
