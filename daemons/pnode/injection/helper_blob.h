// The helper's machine code as bytes (helper.cc, linked flat). Offset 0 is its entry.
#pragma once

#include <cstddef>
#include <span>

namespace ashlar::pnode {

std::span<const std::byte> HelperBlob();

}  // namespace ashlar::pnode
