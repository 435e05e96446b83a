// The command line of a daemon. Threads: values.
#pragma once

#include <optional>
#include <string>

#include "common/service/daemon_main.h"

namespace ashlar::service {

struct DaemonFlags {
  std::string config = "/etc/ashlar/topology.yaml";
  std::string id;
  std::string state_dir;  // empty: DefaultStateDirectory
  std::optional<log::Level> log_level;
  bool check_config = false;  // only read and check `config`
};

// Either what to run with, or what to exit with: words were printed.
struct ParsedFlags {
  DaemonFlags flags;
  std::optional<int> exit_code;
};
ParsedFlags ParseDaemonFlags(int argc, const char* const* argv, const DaemonDescription& description);

// Where the state of node `id` lives unless --state-dir says so: $STATE_DIRECTORY (set by systemd), for root
// /var/lib/ashlar/<id>, else $XDG_STATE_HOME/ashlar/<id> or ~/.local/state/ashlar/<id>. FailedPrecondition: no home.
absl::StatusOr<std::string> DefaultStateDirectory(std::string_view id);

}  // namespace ashlar::service
