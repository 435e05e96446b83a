// The verbs of the command line, one file each. Each asks, draws and says how it ended; none prints by itself.
// Threads: one thread at a time.
#pragma once

#include <optional>
#include <string>

#include "cli/options.h"
#include "common/base/ids.h"

namespace ashlar::cli {

Outcome RunStatus(const Options& options);
Outcome RunPs(const Options& options);
Outcome RunStats(const Options& options);
Outcome RunSpaceLs(const Options& options);
Outcome RunRecover(const Options& options);  // with --watch it prints as it goes on
Outcome RunDrain(const Options& options);    // the same
Outcome RunStrace(const Options& options);
Outcome RunTopologyCheck(const Options& options);
Outcome RunLogVerify(const Options& options);
Outcome RunLogInspect(const Options& options);
Outcome RunVersion(const Options& options);

// `run`: becomes the program's parent and ends as it does. Before the process has a second thread.
Outcome RunRun(const Options& options);

// Where the pnode listens on which `run` starts its program: that of --on, or the only one of this host.
struct RunPlace {
  std::string socket_path;
  std::string control_address;
  std::optional<Outcome> failure;
};
RunPlace FindRunPlace(const Options& options);

// What `run --strace` says at the end, for stderr.
Outcome StraceSummary(const Options& options, const std::string& control_address, SpaceId program);

}  // namespace ashlar::cli
