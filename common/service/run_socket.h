// Where a pnode listens for `ashlar run`: one place, used by both.
//
//   $ASHLAR_RUNTIME_DIR/<id>/run.sock    if set (tests, several clusters on one host)
//   /run/ashlar/<id>/run.sock            root, and daemons that systemd gave $RUNTIME_DIRECTORY
//   $XDG_RUNTIME_DIR/ashlar/<id>/run.sock  other users
#pragma once

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace ashlar::service {

// Where a pnode of this user makes its socket; its directory may not exist yet. FailedPrecondition: no variable says
// where. InvalidArgument: longer than a socket's path may be (107 bytes).
absl::StatusOr<std::string> RunSocketPath(std::string_view id);

// Where `ashlar run` looks: the above, and, unless $ASHLAR_RUNTIME_DIR is set, the system's pnode in /run/ashlar. NotFound
// names every place that was looked at.
absl::StatusOr<std::string> FindRunSocket(std::string_view id);

}  // namespace ashlar::service
