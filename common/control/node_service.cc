#include "common/control/node_service.h"

#include "absl/strings/str_cat.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/control/conversion.h"

namespace ashlar::control {
namespace {

// Said here, once, rather than in each daemon: a node whose link is not up can't do its work.
void AddLinkProblems(NodeStatus& status) {
  for (const LinkStatus& link : status.links) {
    if (link.state == fit::LinkState::kUp) continue;
    const std::string why = link.last_failure.empty() ? "not connected yet" : link.last_failure;
    status.problems.push_back({.code = "LINK-DOWN",
                               .text = absl::StrCat(status.node.id, " has no data path to ", link.peer, ": ", why),
                               .fix = absl::StrCat("start ", link.peer, ", or see `ashlar status ", link.peer, "`")});
  }
}

}  // namespace

grpc::Status NodeService::Describe(grpc::ServerContext* context, const v1::DescribeRequest*, v1::DescribeResponse* response) {
  return Serve(*context, [&] {
    ToProto(state_.identity, response);
    return absl::OkStatus();
  });
}

grpc::Status NodeService::GetStatus(grpc::ServerContext* context, const v1::GetStatusRequest*,
                                    v1::GetStatusResponse* response) {
  return Serve(*context, [&] {
    NodeStatus status;
    if (state_.sources.status) status = state_.sources.status();
    status.node = state_.identity;
    status.health = state_.health;
    status.uptime = absl::Nanoseconds(static_cast<std::int64_t>(MonotonicNs() - state_.started_ns));
    AddLinkProblems(status);
    ToProto(status, response);
    return absl::OkStatus();
  });
}

grpc::Status NodeService::OpenLink(grpc::ServerContext* context, const v1::OpenLinkRequest* request,
                                   v1::OpenLinkResponse* response) {
  return Serve(*context, [&] {
    absl::Status status = IssueLink(*request, response);
    if (!status.ok()) LogRefusal(*context, status);
    return status;
  });
}

absl::Status NodeService::IssueLink(const v1::OpenLinkRequest& request, v1::OpenLinkResponse* response) {
  const LinkRequest link = FromProto(request);
  ASHLAR_RETURN_IF_ERROR(CheckLinkRequest(link, state_.identity, *state_.topology));
  if (!state_.sources.issue_link || state_.health == Health::kStopping) {
    return WithReason(absl::UnavailableError(absl::StrCat(state_.identity.id, " does not serve data now")),
                      reason::kNoDataPath);
  }
  ASHLAR_ASSIGN_OR_RETURN(const fit::LinkGrant grant,
                          state_.sources.issue_link({.node = link.client_node,
                                                     .incarnation = link.client_incarnation,
                                                     .shard = static_cast<std::uint16_t>(link.client_shard)}));
  ToProto(grant, response);
  return absl::OkStatus();
}

void NodeService::LogRefusal(const grpc::ServerContext& context, const absl::Status& why) {
  absl::MutexLock lock(&log_mutex_);
  if (!log_limit_.Allow(MonotonicNs())) return;
  log::Warn("control: link refused peer={} why=\"{}\" left_out={}", context.peer(), why, log_limit_.TakeLeftOut());
}

}  // namespace ashlar::control
