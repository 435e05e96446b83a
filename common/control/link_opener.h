// FIT's LinkOpener over gRPC: asks a server's control path for the one-time right to connect. Retrying and back-off are
// FIT's; each ask is one call with a deadline.
//
// Threads: OpenLink on any thread, never blocks: the call runs on a completion queue, `done` on that queue's thread
// ("ashlar-links"), one for all openers of a LinkOpeners. Destroy the openers before it; a destroyed opener ends its
// calls with Cancelled and returns when their `done` has run.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/base/ids.h"
#include "common/config/topology.h"
#include "common/fit/connection.h"

namespace ashlar::control {

struct LinkOpenerOptions {
  // Who asks.
  NodeId client_node;
  Incarnation client_incarnation;
  std::uint16_t client_shard = 0;
  // Whom. An answer that names another node is refused.
  std::string peer;             // "m1", for messages
  NodeId server_node;
  std::string control_address;  // "127.0.0.1:7402"
  config::FabricKind backend = config::FabricKind::kTcp;
  absl::Duration timeout = absl::Seconds(2);
};

class LinkOpeners {
 public:
  static std::unique_ptr<LinkOpeners> Create();
  virtual ~LinkOpeners() = default;
  virtual std::unique_ptr<fit::LinkOpener> For(const LinkOpenerOptions& options) = 0;
};

}  // namespace ashlar::control
