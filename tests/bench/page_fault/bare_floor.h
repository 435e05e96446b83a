// What the kernel alone costs: the least a paging daemon can do.
#pragma once

#include <cstddef>
#include <vector>

namespace ashlar::bench {

// Microseconds per fault: another process serves each from local memory, by a blocking read and one COPY.
std::vector<double> BareFaults(std::size_t pages);
// Microseconds per page of UFFDIO_MOVE, 64 neighbours at a time, inside one process.
std::vector<double> BareMoves(std::size_t batches);

}  // namespace ashlar::bench
