#include "common/fit/compare.h"

#include <xxhash.h>

namespace ashlar::fit {

std::uint64_t MarksHash(std::span<const wire::PageMark> marks) { return XXH3_64bits(marks.data(), marks.size_bytes()); }

wire::PageMark ExtentMark(std::uint64_t first_page, std::span<const wire::PageMark> marks) {
  const std::uint64_t hash = MarksHash(marks);
  return {.page = first_page,
          .version = marks.size(),
          .crc32c = static_cast<std::uint32_t>(hash),
          .reserved = static_cast<std::uint32_t>(hash >> 32)};
}

}  // namespace ashlar::fit
