// One processor node, assembled: the fault thread with its page store, the guard of thread exits, the socket that
// `ashlar run` connects to, the table of programs, and the control path. What main starts and stops.
//
// Threads: made and destroyed by the main thread. "fault" owns paging, the store, and the FIT shard under it; "guard" and
// "handoff" are the injection's.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/space_ids.h"
#include "common/control/control_server.h"
#include "common/control/link_opener.h"
#include "common/fabric/contract.h"
#include "common/fit/shard.h"
#include "common/service/daemon_main.h"
#include "common/service/watchdog.h"
#include "daemons/pnode/injection/guard.h"
#include "daemons/pnode/injection/handoff_server.h"
#include "daemons/pnode/paging/fault_thread.h"
#include "daemons/pnode/program_registry.h"
#include "daemons/pnode/remote_page_store/remote_page_store.h"
#include "daemons/pnode/supervisor/supervisor.h"

namespace ashlar::pnode {

class ProcessorNode {
 public:
  // Serves when it returns. Its links are being made; a missing one is a problem in status, not an error.
  static absl::StatusOr<std::unique_ptr<ProcessorNode>> Start(service::DaemonContext& context);
  // Kills the programs that still run, each with the reason on its terminal, then stops serving them.
  ~ProcessorNode();

 private:
  ProcessorNode() = default;
  absl::Status BuildStore(service::DaemonContext& context);
  absl::Status BuildPaging(service::DaemonContext& context);
  absl::Status BuildControlPath(service::DaemonContext& context);
  control::NodeStatus Status() const;

  // In the order of building: destruction runs backwards.
  std::uint64_t cache_bytes_ = 0;
  std::unique_ptr<fabric::Device> device_;
  std::unique_ptr<fit::Shard> shard_;
  std::unique_ptr<control::LinkOpeners> openers_;
  std::vector<std::unique_ptr<fit::LinkOpener>> link_openers_;
  std::unique_ptr<RemotePageStore> store_;
  std::optional<config::SpaceIds> space_ids_;
  std::unique_ptr<Supervisor> supervisor_;
  std::unique_ptr<ProgramRegistry> programs_;
  std::unique_ptr<service::Watchdog> watchdog_;
  std::unique_ptr<FaultThread> paging_;
  std::unique_ptr<Guard> guard_;
  std::unique_ptr<HandoffServer> handoff_;
  std::unique_ptr<control::ControlServer> control_;
};

}  // namespace ashlar::pnode
