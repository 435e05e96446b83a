#include "daemons/mnode/memory_node.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/control/node_facts.h"
#include "common/fabric/tcp/device.h"

namespace ashlar::mnode {

absl::StatusOr<std::unique_ptr<MemoryNode>> MemoryNode::Start(service::DaemonContext& context) {
  std::unique_ptr<MemoryNode> node(new MemoryNode);
  ASHLAR_RETURN_IF_ERROR(node->BuildDataPath(context));
  ASHLAR_RETURN_IF_ERROR(node->BuildControlPath(context));
  node->data_thread_.emplace(
      "ashlar-mnode", [shard = node->shard_.get()](auto on_turn) { shard->Run(std::move(on_turn)); }, [shard = node->shard_.get()] { shard->Stop(); });
  node->control_->SetHealth(control::Health::kReady);
  return node;
}

MemoryNode::~MemoryNode() {
  if (control_ != nullptr) control_->Stop(absl::Seconds(1));
  data_thread_.reset();
  server_.reset();
}

absl::Status MemoryNode::BuildDataPath(service::DaemonContext& context) {
  const config::Defaults& defaults = context.topology.defaults;
  device_ = fabric::OpenTcpDevice();
  ASHLAR_ASSIGN_OR_RETURN(shard_, fit::Shard::Create(*device_, {.node = context.node.node_id, .incarnation = context.incarnation}));
  MemoryServiceOptions options;
  options.incarnation = context.incarnation;
  options.pool_bytes = context.node.pool_bytes;
  options.huge_pages = context.node.huge_pages == config::HugePages::kTry ? Mapping::HugePages::kTry : Mapping::HugePages::kNo;
  options.replicas = static_cast<std::uint32_t>(defaults.replicas);
  options.absent_ns = 2 * static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(defaults.timeouts.give_up));
  options.replace_after_ns = static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(defaults.timeouts.replace));
  std::vector<const config::Node*> snodes;
  if (defaults.replicas > 0) snodes = context.topology.NodesOf(config::NodeRole::kSnode);
  for (const config::Node* snode : snodes)
    options.snodes.push_back({.name = snode->id, .node = snode->node_id, .same_host = snode->host == context.node.host});
  ASHLAR_ASSIGN_OR_RETURN(memory_, MemoryService::Create(*shard_, options));
  ASHLAR_ASSIGN_OR_RETURN(server_, fit::Server::Create(*shard_, {.address = context.node.fabric.front().address.ToString()}, *memory_));
  openers_ = control::LinkOpeners::Create();
  for (std::size_t i = 0; i < snodes.size(); ++i) {
    snode_openers_.push_back(openers_->For(control::LinkFrom(context.node, context.incarnation, *snodes[i])));
    Replicator& replicator = memory_->replicas()->member(i);
    ASHLAR_ASSIGN_OR_RETURN(auto connection, fit::Connection::Create(*shard_, control::ConnectionTo(*snodes[i], defaults.timeouts),
                                                                     *snode_openers_.back(), &replicator));
    replicator.Attach(std::move(connection));
  }
  return absl::OkStatus();
}

absl::Status MemoryNode::BuildControlPath(service::DaemonContext& context) {
  control::ControlSources sources;
  sources.status = [this] { return Status(); };
  sources.node_stats = {[this](StatList& stats) { memory_->CollectStats(stats); },
                        [this](StatList& stats) { server_->CollectStats(stats); },
                        [this](StatList& stats) { shard_->CollectStats(stats); }};
  if (memory_->replicas() != nullptr) {
    sources.spaces = [this] {
      control::SpaceList list;
      for (const ReplicaReport& space : memory_->replicas()->Reports())
        list.kept.push_back({.space = space.space, .snode = space.snode, .current = space.state == SlotState::kCurrent && space.behind_bytes == 0,
                             .live_bytes = space.live_bytes, .behind_bytes = space.behind_bytes});
      return list;
    };
    sources.drain = [this, &topology = context.topology](std::string_view node, bool drained) -> absl::Status {
      if (topology.FindNode(node)->role != config::NodeRole::kSnode)
        return absl::InvalidArgumentError(absl::StrCat(std::string(node), " is no snode: an mnode can only leave storage nodes"));
      shard_->Submit([this, name = std::string(node), drained] { memory_->replicas()->Drain(name, drained); });
      return absl::OkStatus();
    };
  }
  sources.issue_link = [this](const fit::Client& client) { return server_->IssueLink(client); };
  ASHLAR_ASSIGN_OR_RETURN(control_, control::ControlServer::StartFor(context.topology, context.node, context.incarnation, std::move(sources)));
  return absl::OkStatus();
}

control::NodeStatus MemoryNode::Status() const {
  control::NodeStatus status;
  const MemoryService::Usage usage = memory_->usage();
  status.usage.push_back({.name = "pool", .used_bytes = usage.used_bytes, .limit_bytes = usage.pool_bytes});
  if (memory_->replicas() == nullptr) return status;
  for (const fit::LinkReport& link : memory_->replicas()->link_reports()) status.links.push_back(control::LinkStatusOf(link));
  return status;
}

}  // namespace ashlar::mnode
