// gRPC's own log lines. Only for common/control's own .cc files.
#pragma once

namespace ashlar::control {

// From now on gRPC logs through ours, as debug: what matters in it comes back to us as an error of the call. Thread-safe.
void RouteGrpcLogOnce();

}  // namespace ashlar::control
