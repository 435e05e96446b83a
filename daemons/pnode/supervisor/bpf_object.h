// The compiled BPF programs, as they lie in this binary. Threads: pure.
#pragma once

#include <cstddef>
#include <span>

namespace ashlar::pnode {

std::span<const std::byte> StraceObject();

}  // namespace ashlar::pnode
