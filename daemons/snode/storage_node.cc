#include "daemons/snode/storage_node.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/config/exit_code.h"
#include "common/config/units.h"
#include "common/control/node_facts.h"
#include "common/fabric/tcp/device.h"
#include "common/telemetry/log.h"
#include "daemons/snode/replica_log/file_device.h"

namespace ashlar::snode {
namespace {

constexpr std::uint64_t kScrubPeriodNs = std::uint64_t{24} * 3600 * 1'000'000'000;

}  // namespace

int StorageNode::ExitCodeFor(const absl::Status& status) {
  if (absl::IsDataLoss(status)) return config::kExitData;
  if (absl::IsUnavailable(status)) return config::kExitInUse;
  return service::ExitCodeOf(status);
}

absl::StatusOr<std::unique_ptr<StorageNode>> StorageNode::Start(service::DaemonContext& context) {
  std::unique_ptr<StorageNode> node(new StorageNode);
  ASHLAR_RETURN_IF_ERROR(node->BuildDataPath(context));
  ASHLAR_RETURN_IF_ERROR(node->BuildControlPath(context));
  node->data_thread_.emplace(
      "ashlar-snode", [shard = node->shard_.get()](auto on_turn) { shard->Run(std::move(on_turn)); }, [shard = node->shard_.get()] { shard->Stop(); });
  node->control_->SetHealth(control::Health::kReady);
  return node;
}

StorageNode::~StorageNode() {
  if (control_ != nullptr) control_->Stop(absl::Seconds(1));
  data_thread_.reset();
  if (append_ != nullptr) append_->Close();  // waits for writes that use the server's memory
  server_.reset();
}

absl::Status StorageNode::BuildDataPath(service::DaemonContext& context) {
  log_path_ = config::LogPath(context.node.log, context.state.path());
  ASHLAR_ASSIGN_OR_RETURN(auto disk, FileDevice::Open(log_path_));
  LogOptions options;
  options.store.capacity_bytes = context.node.log.capacity_bytes;
  options.store.cluster = context.topology.cluster;
  options.store.node = context.node.node_id;
  options.scrub_period_ns = kScrubPeriodNs;
  log::Info("snode: opening log path={} capacity={} (a new one is written through with zeros first)", log_path_,
            config::SizeLiteral(options.store.capacity_bytes));
  ASHLAR_ASSIGN_OR_RETURN(auto log, ReplicaLog::Open(options, std::move(disk)));
  device_ = fabric::OpenTcpDevice();
  ASHLAR_ASSIGN_OR_RETURN(shard_, fit::Shard::Create(*device_, {.node = context.node.node_id, .incarnation = context.incarnation}));
  service::StopSignal& stop = context.stop;
  ASHLAR_ASSIGN_OR_RETURN(append_, AppendService::Create(*shard_, std::move(log), [&stop](const absl::Status& why) {
    stop.Request(why.ToString(), config::kExitIo);
  }));
  ASHLAR_ASSIGN_OR_RETURN(server_, fit::Server::Create(*shard_, {.address = context.node.fabric.front().address.ToString()}, *append_));
  return absl::OkStatus();
}

absl::Status StorageNode::BuildControlPath(service::DaemonContext& context) {
  control::ControlSources sources;
  sources.status = [this] { return Status(); };
  sources.node_stats = {[this](StatList& stats) { append_->CollectStats(stats); },
                        [this](StatList& stats) { server_->CollectStats(stats); },
                        [this](StatList& stats) { shard_->CollectStats(stats); }};
  sources.issue_link = [this](const fit::Client& client) { return server_->IssueLink(client); };
  ASHLAR_ASSIGN_OR_RETURN(control_, control::ControlServer::StartFor(context.topology, context.node, context.incarnation, std::move(sources)));
  return absl::OkStatus();
}

control::NodeStatus StorageNode::Status() const {
  control::NodeStatus status;
  const AppendService::Usage usage = append_->usage();
  status.usage.push_back({.name = "log", .used_bytes = usage.used_bytes, .limit_bytes = usage.limit_bytes});
  if (usage.state != CapacityState::kOk) {
    const bool full = usage.state == CapacityState::kFull;
    status.problems.push_back({.code = full ? "LOG-FULL" : "LOG-NEARFULL",
                               .text = absl::StrCat("the log at ", log_path_, full ? " is full: write-backs wait until programs end or trim" : " is filling up"),
                               .fix = "raise log.capacity_bytes in the topology and restart this node"});
  }
  if (usage.bad_pages > 0 || usage.suspect_spaces > 0)
    status.problems.push_back({.code = "LOG-DEGRADED",
                               .text = absl::StrCat("the disk at ", log_path_, " lost acknowledged data: ", usage.bad_pages, " pages are unreadable, ",
                                                    usage.suspect_spaces, " spaces have to be compared with their homes"),
                               .fix = absl::StrCat("check the disk; homes send again what they hold; copies lie in ", log_path_, "/quarantine")});
  return status;
}

}  // namespace ashlar::snode
