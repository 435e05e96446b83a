// What this process may do with BPF, in words a person can act on. Threads: pure but for /proc.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"

namespace ashlar::pnode {

// "CAP_BPF", "CAP_PERFMON": which of the two are not among `effective` (the CapEff of /proc/PID/status). CAP_SYS_ADMIN stands for both.
std::vector<std::string> MissingBpfCapabilities(std::uint64_t effective);
std::uint64_t OwnEffectiveCapabilities();

// `error` of a bpf call, explained: PermissionDenied names the missing capabilities, or says that the kernel or container refuses
// bpf although they are there; FailedPrecondition says what the kernel lacks. `detail`: libbpf's words, cut.
absl::Status ExplainBpfError(int error, std::string_view what, std::string_view detail);

}  // namespace ashlar::pnode
