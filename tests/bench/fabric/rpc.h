// FIT calls over tcp, beside a bare ping-pong that waits in the same way.
#pragma once

#include <cstddef>
#include <span>

#include "tests/bench/harness.h"

namespace ashlar::bench {

void RunCalls(Harness& harness, std::span<const std::byte> pages);

}  // namespace ashlar::bench
