// One open RDMA device port and what everything made from it shares. The ibv_context belongs to librdmacm, which opens
// each device once and keeps it.
//
// Threads: thread-safe; constant after opening but for the events and the stats, which lock for themselves.
#pragma once

#include <memory>
#include <string>

#include <sys/socket.h>

#include "common/fabric/contract.h"
#include "common/fabric/counters.h"
#include "common/fabric/verbs/async_events.h"

namespace ashlar::fabric::verbs {

// A numeric address, as rdma_cm wants it.
struct SocketAddress {
  sockaddr_storage storage{};
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

struct DeviceContext {
  ibv_context* context = nullptr;
  std::string name;      // "mlx5_0"
  SocketAddress source;  // of what we connect, port 0: it chooses device, port and GID
  Caps caps;
  std::shared_ptr<FabricStats> stats = std::make_shared<FabricStats>();
  std::unique_ptr<AsyncEvents> events;
};

}  // namespace ashlar::fabric::verbs
