// The verbs of the command line, one file each. Each asks, draws and says how it ended; none prints by itself.
// Threads: one thread at a time.
#pragma once

#include "cli/options.h"

namespace ashlar::cli {

Outcome RunStatus(const Options& options);
Outcome RunPs(const Options& options);
Outcome RunStats(const Options& options);
Outcome RunTopologyCheck(const Options& options);
Outcome RunVersion(const Options& options);

}  // namespace ashlar::cli
