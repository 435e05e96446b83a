// The life of a daemon that is one object: its Start builds it and it serves, its destructor takes it down. What stands
// between DaemonMain and that object.
//
// Threads: the main thread.
#pragma once

#include <memory>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/service/daemon_main.h"

namespace ashlar::service {

// Says to the log and to `systemctl status` why the start failed. Returns `exit_code`.
int RefuseStart(const absl::Status& why, int exit_code);

// READY with `ready` as the status line, waits for context.stop, STOPPING. Returns the exit code of what stopped it.
int WaitForStop(DaemonContext& context, std::string_view ready);

// The whole life; `node` is gone when it returns. `exit_code_of` says what a failed start ends with.
template <typename Node>
int ServeUntilStopped(DaemonContext& context, std::string_view ready, absl::StatusOr<std::unique_ptr<Node>> node,
                      int (*exit_code_of)(const absl::Status&) = ExitCodeOf) {
  if (!node.ok()) return RefuseStart(node.status(), exit_code_of(node.status()));
  const int exit_code = WaitForStop(context, ready);
  node->reset();
  return exit_code;
}

}  // namespace ashlar::service
