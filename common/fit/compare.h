// How two holders of a space find out cheaply where they differ: a hash over what each keeps of one extent.
#pragma once

#include <cstdint>
#include <span>

#include "common/fit/messages.h"

namespace ashlar::fit {

// XXH3 (64 bit) over the bytes of the marks: (page, version, crc32c) of each page kept, zero pages too, in page order,
// `reserved` 0. Equal lists have equal hashes on both sides; of an extent of which nothing is kept there is no hash.
std::uint64_t MarksHash(std::span<const wire::PageMark> marks);

// The mark that stands for a whole extent in a reply of CompareMode::kExtents.
wire::PageMark ExtentMark(std::uint64_t first_page, std::span<const wire::PageMark> marks);

}  // namespace ashlar::fit
