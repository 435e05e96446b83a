// One memory node, assembled: its data thread (fabric, FIT server, memory service, links to the storage nodes) and its
// control path. What main starts and stops.
//
// Threads: made and destroyed by the main thread; the data path runs on "ashlar-mnode" alone.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/control/control_server.h"
#include "common/control/link_opener.h"
#include "common/fabric/contract.h"
#include "common/fit/server.h"
#include "common/fit/shard.h"
#include "common/service/daemon_main.h"
#include "common/service/data_thread.h"
#include "daemons/mnode/memory_service.h"

namespace ashlar::mnode {

class MemoryNode {
 public:
  // Serves when it returns. The pool is mapped and registered, the links to the storage nodes are being made.
  static absl::StatusOr<std::unique_ptr<MemoryNode>> Start(service::DaemonContext& context);
  // Stops serving. What is in the pool is gone; what was acknowledged is on the storage node.
  ~MemoryNode();

 private:
  MemoryNode() = default;
  absl::Status BuildDataPath(service::DaemonContext& context);
  absl::Status BuildControlPath(service::DaemonContext& context);
  control::NodeStatus Status() const;

  // In the order of building: destruction runs backwards.
  std::unique_ptr<fabric::Device> device_;
  std::unique_ptr<fit::Shard> shard_;
  std::unique_ptr<control::LinkOpeners> openers_;
  std::vector<std::unique_ptr<fit::LinkOpener>> snode_openers_;
  std::unique_ptr<MemoryService> memory_;
  std::unique_ptr<fit::Server> server_;
  std::unique_ptr<control::ControlServer> control_;
  std::optional<service::DataThread> data_thread_;
};

}  // namespace ashlar::mnode
