// The engine of `ashlar run`.
#pragma once

#include "daemons/pnode/injection/launcher.h"

namespace ashlar::pnode {

struct RunEnd {
  int exit_code = 0;
  SpaceId space;  // 0: it never ran
};

// Runs the program as the caller: its terminal, environment, working directory and process group; signals sent to this
// process reach it, stopping and going on follow it. The exit code is what this process should exit with: the program's own code,
// 128 + n when a signal ended it, 127 not found, 126 not executable, 125 Ashlar failed (words on stderr).
//
// Call it before the process has a second thread (it forks), and exit soon after: it closes every descriptor but stderr,
// so that pipes end when the program closes them.
RunEnd RunProgram(const RunOptions& options);

}  // namespace ashlar::pnode
