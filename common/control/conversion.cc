#include "common/control/conversion.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status.h"
#include "common/config/utf8.h"
#include "common/control/error.h"

namespace ashlar::control {
namespace {

constexpr std::uint64_t kMaxDurationNs = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());

std::uint64_t ToNs(absl::Duration duration) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, absl::ToInt64Nanoseconds(duration)));
}

// A program may call itself by any bytes; a proto string that is not UTF-8 is refused by its receiver, and one with control
// characters by every terminal's owner.
std::string Text(std::string_view text) {
  return config::PrintableCharacters(text, 0, std::numeric_limits<int>::max());
}

// More than 292 years is shown as that.
absl::Duration FromNs(std::uint64_t ns) { return absl::Nanoseconds(static_cast<std::int64_t>(std::min(ns, kMaxDurationNs))); }

// One table per enum, read in both directions.
template <typename Ours, typename Wire>
struct EnumPair {
  Ours ours;
  Wire wire;
};
constexpr EnumPair<config::NodeRole, v1::NodeRole> kRoles[] = {{config::NodeRole::kPnode, v1::NODE_ROLE_PNODE},
                                                               {config::NodeRole::kMnode, v1::NODE_ROLE_MNODE},
                                                               {config::NodeRole::kSnode, v1::NODE_ROLE_SNODE}};
constexpr EnumPair<Health, v1::NodeHealth> kHealths[] = {{Health::kStarting, v1::NODE_HEALTH_STARTING},
                                                         {Health::kReady, v1::NODE_HEALTH_READY},
                                                         {Health::kStopping, v1::NODE_HEALTH_STOPPING}};
constexpr EnumPair<fit::LinkState, v1::LinkState> kLinkStates[] = {
    {fit::LinkState::kOpening, v1::LINK_STATE_OPENING},
    {fit::LinkState::kConnecting, v1::LINK_STATE_CONNECTING},
    {fit::LinkState::kUp, v1::LINK_STATE_UP},
    {fit::LinkState::kDraining, v1::LINK_STATE_DRAINING},
    {fit::LinkState::kBackOff, v1::LINK_STATE_BACK_OFF}};
constexpr EnumPair<config::FabricKind, v1::Backend> kBackends[] = {{config::FabricKind::kTcp, v1::BACKEND_TCP}};
constexpr EnumPair<ProgramState, v1::ProgramState> kProgramStates[] = {{ProgramState::kRunning, v1::PROGRAM_STATE_RUNNING},
                                                                       {ProgramState::kEnded, v1::PROGRAM_STATE_ENDED},
                                                                       {ProgramState::kKilled, v1::PROGRAM_STATE_KILLED}};
constexpr EnumPair<ChildMode, v1::ChildMode> kChildModes[] = {{ChildMode::kServed, v1::CHILD_MODE_SERVED},
                                                              {ChildMode::kLocal, v1::CHILD_MODE_LOCAL}};

template <typename Ours, typename Wire, std::size_t n>
Wire WireOf(const EnumPair<Ours, Wire> (&table)[n], Ours ours) {
  for (const auto& pair : table) {
    if (pair.ours == ours) return pair.wire;
  }
  return Wire{};
}

template <typename Ours, typename Wire, std::size_t n>
absl::StatusOr<Ours> OursOf(const EnumPair<Ours, Wire> (&table)[n], Wire wire, std::string_view field) {
  for (const auto& pair : table) {
    if (pair.wire == wire) return pair.ours;
  }
  return BadField(field, absl::StrCat("this version knows no value ", static_cast<int>(wire)));
}

void LabelsToProto(const std::string& labels, google::protobuf::RepeatedPtrField<v1::Label>* to) {
  for (absl::string_view label : absl::StrSplit(labels, ',', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> split = absl::StrSplit(label, absl::MaxSplits('=', 1));
    v1::Label& added = *to->Add();
    added.set_key(Text({split.first.data(), split.first.size()}));
    added.set_value(Text({split.second.data(), split.second.size()}));
  }
}

std::string LabelsFromProto(const google::protobuf::RepeatedPtrField<v1::Label>& from) {
  std::string labels;
  for (const v1::Label& label : from) absl::StrAppend(&labels, labels.empty() ? "" : ",", label.key(), "=", label.value());
  return labels;
}

void HistogramToProto(const HistogramStat& from, v1::HistogramStat* to) {
  to->set_name(Text(from.name));
  LabelsToProto(from.labels, to->mutable_labels());
  to->set_count(from.snapshot.count);
  to->set_sum(from.snapshot.sum);
  to->set_max(from.snapshot.max);
  to->set_p50(from.snapshot.Quantile(0.5));
  to->set_p99(from.snapshot.Quantile(0.99));
  for (std::size_t i = 0; i < from.snapshot.buckets.size(); ++i) {
    if (from.snapshot.buckets[i] == 0) continue;
    v1::HistogramBucket& bucket = *to->add_buckets();
    bucket.set_upper_bound(HistogramSnapshot::UpperBound(i));
    bucket.set_count(from.snapshot.buckets[i]);
  }
}

absl::StatusOr<HistogramStat> HistogramFromProto(const v1::HistogramStat& from) {
  HistogramStat to{from.name(), LabelsFromProto(from.labels()), {}};
  std::uint64_t in_buckets = 0;
  bool overflow = false;
  for (const v1::HistogramBucket& bucket : from.buckets()) {
    to.snapshot.buckets[HistogramSnapshot::BucketOf(bucket.upper_bound())] += bucket.count();
    overflow |= __builtin_add_overflow(in_buckets, bucket.count(), &in_buckets);
  }
  if (overflow || in_buckets != from.count()) return BadField("histograms.buckets", absl::StrCat(from.name(), ": do not add up to count"));
  to.snapshot.count = from.count();
  to.snapshot.sum = from.sum();
  to.snapshot.max = from.max();
  return to;
}

}  // namespace

v1::Backend ToProto(config::FabricKind kind) { return WireOf(kBackends, kind); }

void ToProto(const NodeIdentity& from, v1::DescribeResponse* to) {
  to->set_cluster(from.cluster);
  to->set_id(from.id);
  to->set_role(WireOf(kRoles, from.role));
  to->set_node_id(from.node_id.value());
  to->set_incarnation(from.incarnation.value());
  to->set_version(from.version);
  to->set_pid(from.pid);
}

absl::StatusOr<NodeIdentity> FromProto(const v1::DescribeResponse& from) {
  NodeIdentity to;
  to.cluster = from.cluster();
  to.id = from.id();
  ASHLAR_ASSIGN_OR_RETURN(to.role, OursOf(kRoles, from.role(), "role"));
  to.node_id = NodeId(from.node_id());
  to.incarnation = Incarnation(from.incarnation());
  to.version = from.version();
  to.pid = from.pid();
  return to;
}

void ToProto(const NodeStatus& from, v1::GetStatusResponse* to) {
  ToProto(from.node, to->mutable_node());
  to->set_health(WireOf(kHealths, from.health));
  to->set_uptime_ns(ToNs(from.uptime));
  for (const LinkStatus& link : from.links) {
    v1::Link& added = *to->add_links();
    added.set_peer(Text(link.peer));
    added.set_backend(WireOf(kBackends, link.backend));
    added.set_state(WireOf(kLinkStates, link.state));
    added.set_in_state_ns(ToNs(link.in_state));
    added.set_last_failure(Text(link.last_failure));
    added.set_reconnects_total(link.reconnects_total);
    added.set_connection_epoch(link.connection_epoch);
  }
  for (const Usage& usage : from.usage) {
    v1::Usage& added = *to->add_usage();
    added.set_name(Text(usage.name));
    added.set_used_bytes(usage.used_bytes);
    added.set_limit_bytes(usage.limit_bytes);
  }
  for (const Problem& problem : from.problems) {
    v1::Problem& added = *to->add_problems();
    added.set_code(Text(problem.code));
    added.set_text(Text(problem.text));
    added.set_fix(Text(problem.fix));
  }
}

absl::StatusOr<NodeStatus> FromProto(const v1::GetStatusResponse& from) {
  NodeStatus to;
  ASHLAR_ASSIGN_OR_RETURN(to.node, FromProto(from.node()));
  ASHLAR_ASSIGN_OR_RETURN(to.health, OursOf(kHealths, from.health(), "health"));
  to.uptime = FromNs(from.uptime_ns());
  for (const v1::Link& link : from.links()) {
    LinkStatus added;
    added.peer = link.peer();
    ASHLAR_ASSIGN_OR_RETURN(added.backend, OursOf(kBackends, link.backend(), "links.backend"));
    ASHLAR_ASSIGN_OR_RETURN(added.state, OursOf(kLinkStates, link.state(), "links.state"));
    added.in_state = FromNs(link.in_state_ns());
    added.last_failure = link.last_failure();
    added.reconnects_total = link.reconnects_total();
    added.connection_epoch = link.connection_epoch();
    to.links.push_back(std::move(added));
  }
  for (const v1::Usage& usage : from.usage()) to.usage.push_back({usage.name(), usage.used_bytes(), usage.limit_bytes()});
  for (const v1::Problem& problem : from.problems()) to.problems.push_back({problem.code(), problem.text(), problem.fix()});
  return to;
}

void ToProto(const ProgramInfo& from, v1::ProgramInfo* to) {
  to->set_program_id(from.program.value());
  to->set_name(Text(from.name));
  to->set_pid(from.pid);
  to->set_uid(from.uid);
  to->set_started_unix_ns(absl::ToUnixNanos(from.started));
  to->set_state(WireOf(kProgramStates, from.state));
  to->set_state_reason(Text(from.state_reason));
  to->set_limit_bytes(from.limit_bytes);
  to->set_resident_bytes(from.resident_bytes);
  to->set_staged_bytes(from.staged_bytes);
  to->set_remote_bytes(from.remote_bytes);
  to->set_local_only_bytes(from.local_only_bytes);
  to->set_peak_resident_bytes(from.peak_resident_bytes);
  for (const ChildProcess& child : from.children) {
    v1::ChildProcess& added = *to->add_children();
    added.set_pid(child.pid);
    added.set_name(Text(child.name));
    added.set_mode(WireOf(kChildModes, child.mode));
  }
}

absl::StatusOr<ProgramInfo> FromProto(const v1::ProgramInfo& from) {
  ProgramInfo to;
  if (from.pid() < 0) return BadField("programs.pid", "must not be negative");
  to.program = SpaceId(from.program_id());
  to.name = from.name();
  to.pid = from.pid();
  to.uid = from.uid();
  to.started = absl::FromUnixNanos(from.started_unix_ns());
  ASHLAR_ASSIGN_OR_RETURN(to.state, OursOf(kProgramStates, from.state(), "programs.state"));
  to.state_reason = from.state_reason();
  to.limit_bytes = from.limit_bytes();
  to.resident_bytes = from.resident_bytes();
  to.staged_bytes = from.staged_bytes();
  to.remote_bytes = from.remote_bytes();
  to.local_only_bytes = from.local_only_bytes();
  to.peak_resident_bytes = from.peak_resident_bytes();
  for (const v1::ChildProcess& child : from.children()) {
    ChildProcess added{.pid = child.pid(), .name = child.name()};
    ASHLAR_ASSIGN_OR_RETURN(added.mode, OursOf(kChildModes, child.mode(), "programs.children.mode"));
    to.children.push_back(std::move(added));
  }
  return to;
}

void ToProto(const StatList& from, v1::StatSet* to) {
  for (const Stat& stat : from.values) {
    v1::Stat& added = *to->add_values();
    added.set_name(stat.name);
    LabelsToProto(stat.labels, added.mutable_labels());
    added.set_value(stat.value);
  }
  for (const HistogramStat& histogram : from.histograms) HistogramToProto(histogram, to->add_histograms());
}

absl::StatusOr<StatList> FromProto(const v1::StatSet& from) {
  StatList to;
  for (const v1::Stat& stat : from.values()) to.values.push_back({stat.name(), LabelsFromProto(stat.labels()), stat.value()});
  for (const v1::HistogramStat& histogram : from.histograms()) {
    ASHLAR_ASSIGN_OR_RETURN(HistogramStat added, HistogramFromProto(histogram));
    to.histograms.push_back(std::move(added));
  }
  return to;
}

void ToProto(const ProgramStats& from, v1::ProgramStats* to) {
  to->set_program_id(from.program.value());
  to->set_name(Text(from.name));
  to->set_pid(from.pid);
  to->set_ended(from.ended);
  ToProto(from.stats, to->mutable_stats());
}

absl::StatusOr<ProgramStats> FromProto(const v1::ProgramStats& from) {
  ProgramStats to{.program = SpaceId(from.program_id()), .name = from.name(), .pid = from.pid(), .ended = from.ended()};
  ASHLAR_ASSIGN_OR_RETURN(to.stats, FromProto(from.stats()));
  return to;
}

void ToProto(const LinkRequest& from, v1::OpenLinkRequest* to) {
  to->set_client_node_id(from.client_node.value());
  to->set_client_incarnation(from.client_incarnation.value());
  to->set_client_shard(from.client_shard);
  to->set_backend(static_cast<v1::Backend>(from.backend));
  to->set_server_node_id(from.server_node.value());
}

LinkRequest FromProto(const v1::OpenLinkRequest& from) {
  return {.client_node = NodeId(from.client_node_id()),
          .client_incarnation = Incarnation(from.client_incarnation()),
          .client_shard = from.client_shard(),
          .backend = static_cast<int>(from.backend()),
          .server_node = NodeId(from.server_node_id())};
}

void ToProto(const fit::LinkGrant& from, v1::OpenLinkResponse* to) {
  to->set_token(from.token.data(), from.token.size());
  to->set_token_id(from.token_id);
  to->set_connection_epoch(from.connection_epoch);
  to->set_address(from.address);
  to->set_server_node_id(from.server_node.value());
  to->set_server_incarnation(from.server_incarnation.value());
}

absl::StatusOr<fit::LinkGrant> FromProto(const v1::OpenLinkResponse& from, NodeId expected) {
  fit::LinkGrant to;
  if (from.token().size() != to.token.size()) return BadField("token", "must be 16 bytes");
  if (from.connection_epoch() == 0) return BadField("connection_epoch", "must not be 0");
  if (from.server_incarnation() == 0) return BadField("server_incarnation", "must not be 0");
  if (NodeId(from.server_node_id()) != expected) return BadField("server_node_id", "is not the node that was asked");
  if (auto address = config::ParseAddress(from.address()); !address.ok()) return BadField("address", "is not ip:port");
  std::copy_n(reinterpret_cast<const std::byte*>(from.token().data()), to.token.size(), to.token.begin());
  to.token_id = from.token_id();
  to.connection_epoch = from.connection_epoch();
  to.address = from.address();
  to.server_node = expected;
  to.server_incarnation = Incarnation(from.server_incarnation());
  return to;
}

}  // namespace ashlar::control
