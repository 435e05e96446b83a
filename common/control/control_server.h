// The control path's serving side of one daemon: Node, Stats and (pnode) Programs and Supervisor, plus grpc.health.v1 and reflection.
//
// Threads: the class is thread-safe. gRPC calls the sources on threads of its own, several at once, never on a thread of
// the data path: each source reads counters or takes a short lock, and answers within milliseconds.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/control/node_types.h"
#include "common/control/syscall_types.h"
#include "common/fit/server.h"

namespace ashlar::control {

// NotFound: no such program, or not traced.
struct SupervisorSources {
  // False: the trace began just now.
  std::function<absl::StatusOr<bool>(SpaceId program, absl::Duration lease)> start_trace;
  std::function<absl::Status(SpaceId program)> stop_trace;
  std::function<absl::StatusOr<SyscallReport>(SpaceId program)> syscalls;
  std::function<absl::StatusOr<ThreadReport>(SpaceId program)> threads;
};

// Where the answers come from: filled by the daemon's main. Everything must outlive the server.
struct ControlSources {
  // links, usage and problems; the server fills in who it is, since when, and the health.
  std::function<NodeStatus()> status;
  // Each adds its numbers.
  std::vector<std::function<void(StatList&)>> node_stats;
  // pnode only: without it there is no Programs service.
  std::function<std::vector<ProgramInfo>(bool include_ended)> programs;
  std::function<std::vector<ProgramStats>(bool include_ended)> program_stats;  // pnode only
  std::optional<SupervisorSources> supervisor;               // pnode only
  // pnode and mnode: without them there is no Spaces service. The node that `drain` gets is in the topology.
  std::function<SpaceList()> spaces;
  std::function<absl::Status(std::string_view node, bool drained)> drain;
  // mnode and snode: fit::Server::IssueLink. The request was checked against the topology.
  std::function<absl::StatusOr<fit::LinkGrant>(const fit::Client&)> issue_link;
};

struct ControlServerOptions {
  std::string address;     // "127.0.0.1:7401"; port 0 = any
  NodeIdentity identity;
  // Must outlive the server. `insecure` there allows plaintext off loopback.
  const config::Topology* topology = nullptr;
};

class ControlServer {
 public:
  // Listens. The health is kStarting (grpc.health: NOT_SERVING) until told otherwise. FailedPrecondition: the address is
  // not loopback and the topology does not say `insecure: true`. Unavailable or PermissionDenied: it can't be listened on.
  static absl::StatusOr<std::unique_ptr<ControlServer>> Start(const ControlServerOptions& options, ControlSources sources);
  // A daemon's own: at its node's address, as its node.
  static absl::StatusOr<std::unique_ptr<ControlServer>> StartFor(const config::Topology& topology, const config::Node& node,
                                                                 Incarnation incarnation, ControlSources sources);
  virtual ~ControlServer() = default;  // ends the calls under way at once

  virtual std::string address() const = 0;  // with the port that was bound
  virtual void SetHealth(Health health) = 0;
  // The health is kStopping. No new calls; those under way have `grace` to end; afterwards no source is called any more.
  // May be called once, before the destructor, or not at all.
  virtual void Stop(absl::Duration grace) = 0;
};

}  // namespace ashlar::control
