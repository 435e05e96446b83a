// Names of x86-64 system calls, taken from the C library's headers at build time. Threads: pure.
#pragma once

#include <cstdint>
#include <string>

namespace ashlar::pnode {

// "read"; "foreign" for kForeignNumber; "syscall_500" for a number that the headers of the build did not know.
std::string SyscallName(std::uint32_t number);

}  // namespace ashlar::pnode
