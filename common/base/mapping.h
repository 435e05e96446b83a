// Owns one anonymous memory mapping.
#pragma once

#include <cstddef>
#include <span>
#include <utility>

#include "absl/status/statusor.h"

namespace ashlar {

class Mapping {
 public:
  enum class HugePages { kNo, kTry };

  Mapping() = default;
  Mapping(Mapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})), huge_(other.huge_) {}
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();

  // Zeroed, private, shareable with no child (MADV_DONTFORK). `size` is rounded up to whole pages. With kTry it asks
  // for 2 MiB hugetlb pages first, then falls back to transparent huge pages; huge() tells which it got.
  static absl::StatusOr<Mapping> Anonymous(std::size_t size, HugePages huge_pages = HugePages::kNo);

  std::span<std::byte> bytes() const { return bytes_; }
  bool huge() const { return huge_; }

 private:
  explicit Mapping(std::span<std::byte> bytes, bool huge) : bytes_(bytes), huge_(huge) {}
  std::span<std::byte> bytes_;
  bool huge_ = false;
};

}  // namespace ashlar
