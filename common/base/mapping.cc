#include "common/base/mapping.h"

#include <sys/mman.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/ids.h"
#include "common/base/status.h"

namespace ashlar {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;

std::size_t RoundUp(std::size_t size, std::size_t unit) { return (size + unit - 1) / unit * unit; }

}  // namespace

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(bytes_, other.bytes_);
  std::swap(huge_, other.huge_);
  return *this;
}

Mapping::~Mapping() {
  if (bytes_.empty()) return;
  ASHLAR_CHECK(::munmap(bytes_.data(), bytes_.size()) == 0, "munmap errno={}", errno);
}

absl::StatusOr<Mapping> Mapping::Anonymous(std::size_t size, HugePages huge_pages) {
  ASHLAR_CHECK(size > 0);
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS;
  bool huge = false;
  std::size_t length = RoundUp(size, kPageBytes);
  void* address = MAP_FAILED;
  if (huge_pages == HugePages::kTry) {
    const std::size_t huge_length = RoundUp(size, kHugePageBytes);
    address = ::mmap(nullptr, huge_length, PROT_READ | PROT_WRITE, kFlags | MAP_HUGETLB, -1, 0);
    huge = address != MAP_FAILED;
    if (huge) length = huge_length;
  }
  if (!huge) address = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, kFlags | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED) return ErrnoStatus(errno, absl::StrCat("map ", length, " bytes"));
  if (huge_pages == HugePages::kTry && !huge) ::madvise(address, length, MADV_HUGEPAGE);  // only a hint
  ::madvise(address, length, MADV_DONTFORK);
  return Mapping(std::span(static_cast<std::byte*>(address), length), huge);
}

}  // namespace ashlar
