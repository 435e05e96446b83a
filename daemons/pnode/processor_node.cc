#include "daemons/pnode/processor_node.h"

#include <sys/mman.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/config/node_identity.h"
#include "common/control/node_facts.h"
#include "common/fabric/tcp/device.h"
#include "common/service/run_socket.h"
#include "common/telemetry/log.h"

namespace ashlar::pnode {
namespace {

// The socket's directory, for its owner and group only. systemd has made it already; a daemon started by hand has not.
absl::Status MakeSocketDirectory(const std::string& socket) {
  const std::filesystem::path directory = std::filesystem::path(socket).parent_path();
  std::error_code error;
  if (!std::filesystem::create_directories(directory, error)) {
    return error ? ErrnoStatus(error.value(), absl::StrCat("make ", directory.string())) : absl::OkStatus();
  }
  std::filesystem::permissions(directory, std::filesystem::perms::owner_all | std::filesystem::perms::group_read | std::filesystem::perms::group_exec, error);
  return error ? ErrnoStatus(error.value(), absl::StrCat("chmod ", directory.string())) : absl::OkStatus();
}

// The fault thread must never wait for a page of its own: what this process touches stays in memory from then on.
void LockMemory() {
  if (::mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0) return;
  log::Warn("pnode: can't lock its memory, so under memory pressure faults may wait for swap why=\"{}\" fix=\"LimitMEMLOCK=infinity\"",
            ErrnoStatus(errno, "mlockall"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessorNode>> ProcessorNode::Start(service::DaemonContext& context) {
  std::unique_ptr<ProcessorNode> node(new ProcessorNode);
  ASHLAR_RETURN_IF_ERROR(node->BuildStore(context));
  ASHLAR_RETURN_IF_ERROR(node->BuildPaging(context));
  ASHLAR_RETURN_IF_ERROR(node->BuildControlPath(context));
  node->control_->SetHealth(control::Health::kReady);
  return node;
}

ProcessorNode::~ProcessorNode() {
  if (control_ != nullptr) control_->Stop(absl::Seconds(1));
  handoff_.reset();  // kills the programs: before the fault thread lets go of their userfaultfds
  guard_.reset();
  paging_.reset();
}

absl::Status ProcessorNode::BuildStore(service::DaemonContext& context) {
  const config::Defaults& defaults = context.topology.defaults;
  const auto homes = context.topology.NodesOf(config::NodeRole::kMnode);
  if (homes.empty()) return absl::FailedPreconditionError("the topology has no mnode: a pnode needs one to keep its pages");
  device_ = fabric::OpenTcpDevice();
  ASHLAR_ASSIGN_OR_RETURN(shard_, fit::Shard::Create(*device_, {.node = context.node.node_id, .incarnation = context.incarnation}));
  RemotePageStoreOptions options;
  options.placement = defaults.placement == config::Placement::kWeight ? Placement::kWeight : Placement::kMostFree;
  options.level = defaults.ReachedLevel() == config::AckLevel::kDisk ? AckLevel::kDisk : AckLevel::kHome;
  options.fail_over_ns = static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(defaults.timeouts.fail_over));
  store_ = std::make_unique<RemotePageStore>(*shard_, options);
  openers_ = control::LinkOpeners::Create();
  const auto connect = [&](const config::Node& peer, auto& link) -> absl::Status {
    link_openers_.push_back(openers_->For(control::LinkFrom(context.node, context.incarnation, peer)));
    ASHLAR_ASSIGN_OR_RETURN(auto connection,
                            fit::Connection::Create(*shard_, control::ConnectionTo(peer, defaults.timeouts), *link_openers_.back(), &link));
    link.Attach(std::move(connection));
    return absl::OkStatus();
  };
  for (const config::Node* home : homes) {
    ASHLAR_RETURN_IF_ERROR(connect(*home, store_->AddHome({.name = home->id, .extents = home->pool_bytes / kExtentBytes, .weight = home->weight})));
  }
  if (defaults.replicas == 0) return absl::OkStatus();
  for (const config::Node* storage : context.topology.NodesOf(config::NodeRole::kSnode)) {
    ASHLAR_RETURN_IF_ERROR(connect(*storage, store_->AddStorage(storage->id)));
  }
  return absl::OkStatus();
}

absl::Status ProcessorNode::BuildPaging(service::DaemonContext& context) {
  const config::Defaults& defaults = context.topology.defaults;
  ASHLAR_ASSIGN_OR_RETURN(config::SpaceIds ids, config::SpaceIds::Open(context.state, context.node.node_id, config::WallClockNs()));
  space_ids_.emplace(std::move(ids));
  cache_bytes_ = context.node.cache_bytes;
  RegistryOptions options;
  options.cache_bytes = cache_bytes_;
  options.victim_percent = static_cast<std::uint32_t>(context.node.victim_percent);
  options.give_up = defaults.timeouts.give_up;
  options.on_trouble = defaults.on_give_up == config::OnGiveUp::kKill ? SpaceConfig::OnTrouble::kKill : SpaceConfig::OnTrouble::kHold;
  options.ack_level = defaults.ReachedLevel() == config::AckLevel::kDisk ? AckLevel::kDisk : AckLevel::kHome;
  supervisor_ = std::make_unique<Supervisor>();
  programs_ = std::make_unique<ProgramRegistry>(options, [this] { return space_ids_->Take(); });
  LockMemory();
  watchdog_ = std::make_unique<service::Watchdog>();
  ASHLAR_ASSIGN_OR_RETURN(paging_, FaultThread::Start({.on_turn = [this] { watchdog_->Feed(); }}, *store_, *programs_));
  ASHLAR_ASSIGN_OR_RETURN(guard_, Guard::Start([this](ExitTicket ticket) { programs_->OnThreadExit(std::move(ticket)); }));
  ASHLAR_ASSIGN_OR_RETURN(const std::string socket, service::RunSocketPath(context.node.id));
  ASHLAR_RETURN_IF_ERROR(MakeSocketDirectory(socket));
  ASHLAR_ASSIGN_OR_RETURN(handoff_, HandoffServer::Start({.socket_path = socket}, programs_.get()));
  programs_->Connect(*paging_, *guard_, *handoff_, *supervisor_);
  return absl::OkStatus();
}

absl::Status ProcessorNode::BuildControlPath(service::DaemonContext& context) {
  control::ControlSources sources;
  sources.status = [this] { return Status(); };
  sources.node_stats = {[this](StatList& stats) { paging_->CollectStats(stats); }, [this](StatList& stats) { store_->CollectStats(stats); },
                        [this](StatList& stats) { shard_->CollectStats(stats); }, [this](StatList& stats) { guard_->AddStats(&stats); },
                        [this](StatList& stats) { handoff_->AddStats(&stats); }, [this](StatList& stats) { supervisor_->AddStats(&stats); }};
  sources.programs = [this](bool include_ended) { return programs_->List(include_ended); };
  sources.spaces = [this] {
    control::SpaceList list;
    for (const SpaceReport& space : store_->board().Read())
      list.homed.push_back({.space = space.space, .epoch = space.epoch, .home = space.home, .state = static_cast<control::SpaceState>(space.state),
                            .extents = space.extents, .extents_to_refill = space.extents_to_refill, .extents_refilled = space.extents_refilled,
                            .since_left = space.left_at_ns == 0 ? absl::ZeroDuration() : absl::Nanoseconds(static_cast<std::int64_t>(MonotonicNs() - space.left_at_ns))});
    return list;
  };
  sources.drain = [this, &topology = context.topology](std::string_view node, bool drained) -> absl::Status {
    if (topology.FindNode(node)->role != config::NodeRole::kMnode)
      return absl::InvalidArgumentError(absl::StrCat(std::string(node), " is no mnode: a pnode can only leave memory nodes"));
    shard_->Submit([this, name = std::string(node), drained] { store_->Drain(name, drained); });
    return absl::OkStatus();
  };
  sources.program_stats = [this](bool include_ended) { return programs_->Stats(include_ended); };
  sources.supervisor = {.start_trace = [this](SpaceId program, absl::Duration lease) { return programs_->StartTrace(program, lease); },
                        .stop_trace = [this](SpaceId program) { return supervisor_->Stop(program); },
                        .syscalls = [this](SpaceId program) { return supervisor_->Report(program); },
                        .threads = [this](SpaceId program) { return supervisor_->Threads(program); }};
  ASHLAR_ASSIGN_OR_RETURN(control_, control::ControlServer::StartFor(context.topology, context.node, context.incarnation, std::move(sources)));
  return absl::OkStatus();
}

control::NodeStatus ProcessorNode::Status() const {
  control::NodeStatus status;
  status.usage.push_back({.name = "cache", .used_bytes = programs_->granted_bytes(), .limit_bytes = cache_bytes_});
  for (const fit::LinkReport& link : store_->link_reports()) status.links.push_back(control::LinkStatusOf(link));
  status.problems = programs_->Problems();
  return status;
}

}  // namespace ashlar::pnode
