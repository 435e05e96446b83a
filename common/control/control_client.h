// Asks one node over gRPC. Every call has a deadline, fails fast when nobody listens, and says whom it asked.
//
// Errors: Unavailable (nobody there), DeadlineExceeded, or the server's own, whose reason ReasonOf tells (error.h).
// Threads: thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/control/link_request.h"
#include "common/control/node_types.h"
#include "common/control/syscall_types.h"

namespace ashlar::control {

class ControlClient {
 public:
  // `address` as in the topology. Connects at the first call.
  static std::unique_ptr<ControlClient> Create(std::string_view address);
  virtual ~ControlClient() = default;

  virtual absl::StatusOr<NodeIdentity> Describe(absl::Duration timeout) = 0;
  virtual absl::StatusOr<NodeStatus> GetStatus(absl::Duration timeout) = 0;
  // SpaceId(0): everything.
  virtual absl::StatusOr<NodeStats> GetStats(SpaceId program, bool include_ended, absl::Duration timeout) = 0;
  virtual absl::StatusOr<std::vector<ProgramInfo>> ListPrograms(bool include_ended, absl::Duration timeout) = 0;
  // Whether it was traced already. The lease is how long the trace lasts after the last question; infinite: until the program ends.
  virtual absl::StatusOr<bool> StartTrace(SpaceId program, absl::Duration lease, absl::Duration timeout) = 0;
  virtual absl::Status StopTrace(SpaceId program, absl::Duration timeout) = 0;
  virtual absl::StatusOr<SyscallReport> GetSyscalls(SpaceId program, absl::Duration timeout) = 0;
  // Calls `show` with each report until it returns false, the program has ended (the last one is final), or the node is gone.
  virtual absl::Status WatchSyscalls(SpaceId program, absl::Duration interval, const std::function<bool(const SyscallReport&)>& show) = 0;
  virtual absl::StatusOr<ThreadReport> ListThreads(SpaceId program, absl::Duration timeout) = 0;
  virtual absl::StatusOr<SpaceList> ListSpaces(absl::Duration timeout) = 0;
  virtual absl::Status Drain(std::string_view node, bool drained, absl::Duration timeout) = 0;
  virtual absl::StatusOr<fit::LinkGrant> OpenLink(const LinkRequest& request, absl::Duration timeout) = 0;
};

}  // namespace ashlar::control
