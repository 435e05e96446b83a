// `ashlar strace`: what it shows, apart from asking for it. Pure.
#pragma once

#include <string>

#include "cli/json.h"
#include "cli/options.h"
#include "common/control/syscall_types.h"

namespace ashlar::cli {

// The columns of `strace -c` first and in its order (wall time, as with -w), then p50, p99, max, restarted calls and the part
// of the time that was remote memory. `before`, if not null, is an earlier report: a column of calls per second is added.
std::string RenderSyscalls(const control::SyscallReport& report, const StraceOptions& options, const control::SyscallReport* before = nullptr);
// One table per thread, oldest first.
std::string RenderThreads(const control::ThreadReport& report, const StraceOptions& options);

Json SyscallsJson(const control::SyscallReport& report);  // "schema": "ashlar.strace/1"
Json ThreadsJson(const control::SyscallReport& report, const control::ThreadReport& threads);

}  // namespace ashlar::cli
