// How a connection comes up and ends, as rdma_cm tells it. A pure function; the endpoint acts on it.
//
//   connecting side: kResolvingAddress → kResolvingRoute → kConnecting → kOpen
//   accepting side:  kAccepting (our answer not sent yet) → kAccepted (sent) → kOpen
// Any of them may end in kClosed, which is for good: a queue pair is replaced, never reset.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include <rdma/rdma_cma.h>

namespace ashlar::fabric::verbs {

enum class Phase : std::uint8_t { kResolvingAddress, kResolvingRoute, kConnecting, kAccepting, kAccepted, kOpen, kClosed };
inline constexpr Phase kAllPhases[] = {Phase::kResolvingAddress, Phase::kResolvingRoute, Phase::kConnecting, Phase::kAccepting,
                                       Phase::kAccepted,         Phase::kOpen,           Phase::kClosed};

enum class ConnectionEvent : std::uint8_t {
  kAddressResolved,
  kRouteResolved,
  kAnswerSent,   // ours: rdma_accept was done
  kEstablished,  // or, at the accepting side, the peer's first message
  kRefused,      // unreachable, rejected, no route
  kEnded,        // the peer closed or died
  kDeviceGone,
  kNothing,      // no news for the connection
};
inline constexpr ConnectionEvent kAllConnectionEvents[] = {
    ConnectionEvent::kAddressResolved, ConnectionEvent::kRouteResolved, ConnectionEvent::kAnswerSent, ConnectionEvent::kEstablished,
    ConnectionEvent::kRefused,         ConnectionEvent::kEnded,         ConnectionEvent::kDeviceGone, ConnectionEvent::kNothing};

// nullopt: out of order. The kernel says it, not the peer, but it is the world all the same: the connection is given up.
constexpr std::optional<Phase> Next(Phase phase, ConnectionEvent event) {
  using enum Phase;
  switch (event) {
    case ConnectionEvent::kNothing: return phase;
    case ConnectionEvent::kRefused:
    case ConnectionEvent::kEnded:
    case ConnectionEvent::kDeviceGone: return kClosed;
    case ConnectionEvent::kAddressResolved:
    case ConnectionEvent::kRouteResolved:
    case ConnectionEvent::kAnswerSent:
    case ConnectionEvent::kEstablished: break;
  }
  switch (phase) {
    case kResolvingAddress:
      if (event == ConnectionEvent::kAddressResolved) return kResolvingRoute;
      break;
    case kResolvingRoute:
      if (event == ConnectionEvent::kRouteResolved) return kConnecting;
      break;
    case kConnecting:
      if (event == ConnectionEvent::kEstablished) return kOpen;
      break;
    case kAccepting:
      if (event == ConnectionEvent::kAnswerSent) return kAccepted;
      break;
    case kAccepted:
      if (event == ConnectionEvent::kEstablished) return kOpen;
      break;
    case kOpen:
      if (event == ConnectionEvent::kEstablished) return kOpen;  // behind the first message
      break;
    case kClosed: return kClosed;  // late news
  }
  return std::nullopt;
}

constexpr ConnectionEvent EventOf(rdma_cm_event_type type) {
  switch (type) {
    case RDMA_CM_EVENT_ADDR_RESOLVED: return ConnectionEvent::kAddressResolved;
    case RDMA_CM_EVENT_ROUTE_RESOLVED: return ConnectionEvent::kRouteResolved;
    case RDMA_CM_EVENT_ESTABLISHED: return ConnectionEvent::kEstablished;
    case RDMA_CM_EVENT_ADDR_ERROR:
    case RDMA_CM_EVENT_ROUTE_ERROR:
    case RDMA_CM_EVENT_CONNECT_ERROR:
    case RDMA_CM_EVENT_UNREACHABLE:
    case RDMA_CM_EVENT_REJECTED: return ConnectionEvent::kRefused;
    case RDMA_CM_EVENT_DISCONNECTED: return ConnectionEvent::kEnded;
    case RDMA_CM_EVENT_DEVICE_REMOVAL: return ConnectionEvent::kDeviceGone;
    case RDMA_CM_EVENT_CONNECT_REQUEST:   // listeners only
    case RDMA_CM_EVENT_CONNECT_RESPONSE:  // without a queue pair of the library only
    case RDMA_CM_EVENT_MULTICAST_JOIN:
    case RDMA_CM_EVENT_MULTICAST_ERROR:
    case RDMA_CM_EVENT_ADDR_CHANGE:  // the queue pair lives on; if the path died, retries tell
    case RDMA_CM_EVENT_TIMEWAIT_EXIT: break;
  }
  return ConnectionEvent::kNothing;
}

}  // namespace ashlar::fabric::verbs
