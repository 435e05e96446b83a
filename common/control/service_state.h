// What the services of one control server share. Only for common/control's own .cc files.
//
// Threads: fields are fixed before the server listens, except `health`.
#pragma once

#include <atomic>
#include <cstdint>

#include <grpcpp/server_context.h>

#include "common/control/control_server.h"
#include "common/control/error.h"
#include "common/control/grpc_status.h"

namespace ashlar::control {

struct ServiceState {
  NodeIdentity identity;
  const config::Topology* topology = nullptr;
  ControlSources sources;
  std::uint64_t started_ns = 0;  // MonotonicNs
  std::atomic<Health> health{Health::kStarting};
};

// Runs a handler unless its caller has gone already: under load that work is the first to save. A call without a deadline
// needs no other treatment, since every handler answers from memory and waits for nothing.
template <typename Body>
grpc::Status Serve(const grpc::ServerContext& context, Body body) {
  if (context.IsCancelled()) {
    return ToGrpc(WithReason(absl::CancelledError("the caller was gone before the call began"), reason::kCallAbandoned));
  }
  return ToGrpc(body());
}

}  // namespace ashlar::control
