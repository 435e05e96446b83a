// Which memory of a thread the kernel writes while the thread ends.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/functional/function_ref.h"
#include "daemons/pnode/injection/guard.h"

namespace ashlar::pnode {

// The robust-list head of a thread: in glibc and musl a member of the thread descriptor, close behind its tid word.
// 0: the thread has none (not made by a libc).
std::uint64_t FindRobustListHead(pid_t tid);

// Reads 8 bytes of the program; false if they can't be had.
using ReadWord = absl::FunctionRef<bool(std::uint64_t address, std::uint64_t* word)>;

// Page ranges: the descriptor around `head`, then each robust mutex that is linked to it, at most kMaxExitRanges in all.
// The list is the program's: it may be a cycle, or point anywhere.
std::vector<AddressRange> ExitRanges(std::uint64_t head, ReadWord read);

}  // namespace ashlar::pnode
