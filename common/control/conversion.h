// Our own values ↔ the messages of proto/ashlar/v1. Only for common/control's own .cc files.
//
// From… take what a peer sent: an unknown enum value, a negative pid or a histogram whose buckets do not add up is
// an error that names the field, never a guess.
#pragma once

#include "absl/status/statusor.h"
#include "common/control/link_request.h"
#include "common/control/node_types.h"
#include "proto/ashlar/v1/node.pb.h"
#include "proto/ashlar/v1/programs.pb.h"
#include "proto/ashlar/v1/stats.pb.h"

namespace ashlar::control {

void ToProto(const NodeIdentity& from, v1::DescribeResponse* to);
absl::StatusOr<NodeIdentity> FromProto(const v1::DescribeResponse& from);

void ToProto(const NodeStatus& from, v1::GetStatusResponse* to);
absl::StatusOr<NodeStatus> FromProto(const v1::GetStatusResponse& from);

void ToProto(const ProgramInfo& from, v1::ProgramInfo* to);
absl::StatusOr<ProgramInfo> FromProto(const v1::ProgramInfo& from);

void ToProto(const StatList& from, v1::StatSet* to);
absl::StatusOr<StatList> FromProto(const v1::StatSet& from);
void ToProto(const ProgramStats& from, v1::ProgramStats* to);
absl::StatusOr<ProgramStats> FromProto(const v1::ProgramStats& from);

void ToProto(const LinkRequest& from, v1::OpenLinkRequest* to);
LinkRequest FromProto(const v1::OpenLinkRequest& from);  // CheckLinkRequest judges it

void ToProto(const fit::LinkGrant& from, v1::OpenLinkResponse* to);
// InvalidArgument: a token of another size, zero numbers, no address, or another server than `expected`.
absl::StatusOr<fit::LinkGrant> FromProto(const v1::OpenLinkResponse& from, NodeId expected);

v1::Backend ToProto(config::FabricKind kind);

}  // namespace ashlar::control
