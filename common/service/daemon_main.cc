#include "common/service/daemon_main.h"

#include <cstdio>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "common/base/status.h"
#include "common/config/exit_code.h"
#include "common/config/node_identity.h"
#include "common/service/daemon_flags.h"
#include "common/service/notify.h"
#include "common/service/serve.h"
#include "common/telemetry/log.h"

namespace ashlar::service {
namespace {

// The faults of the file as a whole, then those only this host can see. Empty = fine.
std::vector<config::Fault> FaultsFor(const config::TopologyResult& loaded, const DaemonFlags& flags, config::NodeRole role) {
  if (!loaded.ok() || flags.id.empty()) return loaded.faults;
  return config::CheckForNode(loaded.topology, flags.id, role, config::HostMemoryBytes());
}

int RunWithState(const config::Topology& topology, const DaemonFlags& flags, StopSignal& stop,
                 absl::FunctionRef<int(DaemonContext&)> run) {
  const config::Node& node = *topology.FindNode(std::string_view(flags.id));
  std::string directory = flags.state_dir;
  if (directory.empty()) {
    absl::StatusOr<std::string> found = DefaultStateDirectory(flags.id);
    if (!found.ok()) return RefuseStart(found.status(), config::kExitUsage);
    directory = *std::move(found);
  }
  absl::StatusOr<config::StateDirectory> state = config::StateDirectory::Open(directory);
  if (!state.ok()) {
    return RefuseStart(state.status(), absl::IsUnavailable(state.status()) ? config::kExitInUse : ExitCodeOf(state.status()));
  }
  const auto identity = config::SyncNextIncarnation(*state, node.node_id, config::WallClockNs());
  if (!identity.ok()) {
    return RefuseStart(identity.status(), absl::IsDataLoss(identity.status()) ? config::kExitData : ExitCodeOf(identity.status()));
  }
  DaemonContext context{.topology = topology, .node = node, .incarnation = identity->incarnation, .state = *state, .stop = stop};
  log::Info("service: starting version={} cluster={} node={} incarnation={} state_dir={}", ASHLAR_VERSION, topology.cluster,
            node.node_id.value(), context.incarnation.value(), directory);
  const int exit_code = run(context);
  log::Info("service: stopped exit={}", exit_code);
  return exit_code;
}

}  // namespace

int DaemonMain(int argc, char** argv, const DaemonDescription& description, absl::FunctionRef<int(DaemonContext&)> run) {
  StopSignal stop;
  const ParsedFlags parsed = ParseDaemonFlags(argc, argv, description);
  if (parsed.exit_code) return *parsed.exit_code;
  const DaemonFlags& flags = parsed.flags;

  const config::TopologyResult loaded = config::LoadTopology(flags.config);
  if (const std::vector<config::Fault> faults = FaultsFor(loaded, flags, description.role); !faults.empty()) {
    fmt::print(stderr, "{}", config::RenderFaults(faults));
    NotifyStatus("config: " + config::RenderLine(faults.front()));
    return config::kExitConfig;
  }
  if (flags.check_config) {
    fmt::print("{}: ok, cluster {}, {} nodes\n", flags.config, loaded.topology.cluster, loaded.topology.nodes.size());
    return config::kExitOk;
  }
  log::Init(fmt::format("{} {}", description.program, flags.id), flags.log_level.value_or(loaded.topology.log_level));
  return RunWithState(loaded.topology, flags, stop, run);
}

int ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return config::kExitOk;
    case absl::StatusCode::kPermissionDenied:
      return config::kExitDenied;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kInvalidArgument:
      return config::kExitConfig;
    case absl::StatusCode::kDataLoss:
      return config::kExitIo;
    default:
      return config::kExitUnavailable;
  }
}

}  // namespace ashlar::service
