// One storage node, assembled: its data thread (fabric, FIT server, append service on the replica log) and its control
// path. What main starts and stops.
//
// Threads: made and destroyed by the main thread; the data path, the disk's completions included, runs on "ashlar-snode".
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/control/control_server.h"
#include "common/fabric/contract.h"
#include "common/fit/server.h"
#include "common/fit/shard.h"
#include "common/service/daemon_main.h"
#include "common/service/data_thread.h"
#include "daemons/snode/append_service.h"

namespace ashlar::snode {

class StorageNode {
 public:
  // Opens the log (which may take seconds: it reads what is there), serves when it returns.
  static absl::StatusOr<std::unique_ptr<StorageNode>> Start(service::DaemonContext& context);
  // Ends with every acknowledged page on the disk, as always.
  ~StorageNode();

  // The exit code for a status of Start: the log's own words for damage (65) and use (75).
  static int ExitCodeFor(const absl::Status& status);

 private:
  StorageNode() = default;
  absl::Status BuildDataPath(service::DaemonContext& context);
  absl::Status BuildControlPath(service::DaemonContext& context);
  control::NodeStatus Status() const;

  // In the order of building: destruction runs backwards.
  std::string log_path_;
  std::unique_ptr<fabric::Device> device_;
  std::unique_ptr<fit::Shard> shard_;
  std::unique_ptr<AppendService> append_;
  std::unique_ptr<fit::Server> server_;
  std::unique_ptr<control::ControlServer> control_;
  std::optional<service::DataThread> data_thread_;
};

}  // namespace ashlar::snode
