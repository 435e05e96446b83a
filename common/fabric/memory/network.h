// Endpoints inside one process, joined by queues of frames: for FIT's tests and for simulation. Nothing moves by itself:
// a frame is delivered when the queue of its receiver is polled, so a test steps the world by its polls.
//
// Fault model: a connection is lost at any moment (Cut), what one side sends is kept back and comes late or never (Hold,
// Release), each frame takes a while on a clock the test moves (SetDelay). Frames are never reordered, altered or lost one
// by one: below the contract stands a reliable, ordered connection on every backend.
//
// Threads: one thread for the network and everything made from it. The network outlives its devices and endpoints.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/fabric/contract.h"

namespace ashlar::fabric {

namespace memory {
class MemoryEndpoint;
class MemoryListener;
}  // namespace memory

class MemoryNetwork {
 public:
  explicit MemoryNetwork(const Clock& clock = Clock::Real()) : clock_(clock) {}
  ~MemoryNetwork();

  // Devices of one network reach each other. An address is any name; "" or one that ends in ":0" gets a fresh number.
  std::unique_ptr<Device> OpenDevice();

  // Living endpoints in the order of their making: of a connection, the connecting side comes first.
  std::vector<EndpointId> endpoints() const;

  // The connection is lost: both ends fail at their next poll, frames under way never arrive.
  void Cut(EndpointId endpoint);
  // What `sender` sends from now on is kept back. Both sides held: silence in both directions.
  void Hold(EndpointId sender);
  // Lets the oldest `frames` kept back go on their way. All of them: the hold ends.
  void Release(EndpointId sender, std::size_t frames = std::numeric_limits<std::size_t>::max());
  std::size_t held(EndpointId sender) const;
  // How long each frame from now on takes; order is kept. Empty: no time.
  void SetDelay(std::function<absl::Duration(EndpointId sender)> delay) { delay_ = std::move(delay); }
  // When the next frame under way is due; nullopt: none waits for the clock.
  std::optional<std::uint64_t> NextDeliveryNs() const;

 private:
  friend class memory::MemoryEndpoint;
  friend class memory::MemoryListener;
  friend class MemoryDevice;
  friend class MemoryPendingPeer;

  memory::MemoryEndpoint* Find(EndpointId id) const;

  const Clock& clock_;
  std::function<absl::Duration(EndpointId)> delay_;
  std::map<EndpointId, memory::MemoryEndpoint*> endpoints_;
  std::map<std::string, memory::MemoryListener*, std::less<>> listeners_;
  std::uint32_t last_port_ = 0;
};

}  // namespace ashlar::fabric
