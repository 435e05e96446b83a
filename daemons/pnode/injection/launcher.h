// Starts a program under the pnode: admission, the child, injection, hand-over (10-paging §5). The caller becomes the
// program's parent and must keep what it gets until the program has ended (keeper.h).
//
// Threads: a single-threaded process only: it forks.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/base/unique_fd.h"

namespace ashlar::pnode {

struct RunOptions {
  std::string socket_path;        // of the pnode
  std::uint64_t limit_bytes = 0;  // local memory of all its processes together; 0: the pnode chooses
  bool strace = false;            // count its system calls
  std::string name;               // shown in status; empty: the program's file name
  std::vector<std::string> argv;  // [0] is looked up in PATH as a shell would
};

// Exit codes of `ashlar run` that are not the program's own (60-operations §6).
constexpr int kExitAshlarFailed = 125;
constexpr int kExitNotExecutable = 126;
constexpr int kExitNotFound = 127;

// A program that runs. Every descriptor stays open as long as one process of it lives.
struct LaunchedProgram {
  pid_t pid = 0;
  SpaceId space;
  UniqueFd socket;         // to the pnode
  UniqueFd uffd;           // the second holder's: without one the program would read zeros
  UniqueFd exit_listener;  // without one its threads could not end
};

// `signal_mask` is what the program starts with. On failure nothing is left behind, the status has words
// for the user, and `exit_code` says how `ashlar run` should end.
absl::StatusOr<LaunchedProgram> Launch(const RunOptions& options, const sigset_t& signal_mask, int* exit_code);

}  // namespace ashlar::pnode
