// The part of `main` that is the same in all three daemons: command line, topology, state directory, incarnation, log
// and signals. What is left for a daemon is to build its objects, say NotifyReady, and wait.
//
// Exit codes: config/exit_code.h. 64, 65, 77 and 78 are not restarted by the units.
#pragma once

#include <string>
#include <string_view>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "common/base/ids.h"
#include "common/config/state_directory.h"
#include "common/config/topology.h"
#include "common/service/stop_signal.h"

namespace ashlar::service {

struct DaemonDescription {
  std::string program;  // "ashlar-mnode"
  config::NodeRole role = config::NodeRole::kUnknown;
  std::string summary;  // "lends memory to programs and keeps their pages": one line of --help
};

// What a daemon starts from. Lives as long as it does.
struct DaemonContext {
  const config::Topology& topology;
  const config::Node& node;  // its own entry
  Incarnation incarnation;   // stored already
  config::StateDirectory& state;
  StopSignal& stop;
};

// `run` builds the daemon, waits for context.stop and takes it down again; it returns the exit code. Call this first in
// main: it must come before the first thread.
int DaemonMain(int argc, char** argv, const DaemonDescription& description,
               absl::FunctionRef<int(DaemonContext& context)> run);

// The exit code for a start that failed: PermissionDenied 77, FailedPrecondition and InvalidArgument 78, DataLoss 74,
// everything else 69. A daemon that knows better says so itself.
int ExitCodeOf(const absl::Status& status);

}  // namespace ashlar::service
