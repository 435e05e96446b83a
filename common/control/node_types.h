// What a node says about itself on the control path, as plain values: the daemons fill them, the command line reads them.
// gRPC and protobuf stay inside common/control's .cc files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/ids.h"
#include "common/config/topology.h"
#include "common/fit/connection.h"
#include "common/telemetry/stat_list.h"

namespace ashlar::control {

struct NodeIdentity {
  std::string cluster;
  std::string id;  // "p1"
  config::NodeRole role = config::NodeRole::kUnknown;
  NodeId node_id;
  Incarnation incarnation;
  std::string version;
  int pid = 0;
};

enum class Health { kStarting, kReady, kStopping };

struct LinkStatus {
  std::string peer;
  config::FabricKind backend = config::FabricKind::kTcp;
  fit::LinkState state = fit::LinkState::kOpening;
  absl::Duration in_state;    // how long it has been so
  std::string last_failure;   // empty = never lost
  std::uint64_t reconnects_total = 0;
  std::uint64_t connection_epoch = 0;  // 0 = none
};

struct Usage {
  std::string name;  // "cache" | "pool" | "log"
  std::uint64_t used_bytes = 0;
  std::uint64_t limit_bytes = 0;
};

struct Problem {
  std::string code;  // "LINK-DOWN"; stable, upper case
  std::string text;  // what is wrong and what is at risk
  std::string fix;
};

struct NodeStatus {
  NodeIdentity node;
  Health health = Health::kStarting;
  absl::Duration uptime;
  std::vector<LinkStatus> links;
  std::vector<Usage> usage;
  std::vector<Problem> problems;  // empty = all is well
};

enum class ProgramState { kRunning, kEnded, kKilled };
// kServed: forked, not exec'ed, its faults are served. kLocal: exec'ed, an ordinary process.
enum class ChildMode { kServed, kLocal };

struct ChildProcess {
  int pid = 0;
  std::string name;
  ChildMode mode = ChildMode::kLocal;
};

// proto/ashlar/v1/programs.proto says what each field counts.
struct ProgramInfo {
  SpaceId program;
  std::string name;
  int pid = 0;
  std::uint32_t uid = 0;
  absl::Time started;
  ProgramState state = ProgramState::kRunning;
  std::string state_reason;  // empty while running
  std::uint64_t limit_bytes = 0;
  std::uint64_t resident_bytes = 0;
  std::uint64_t staged_bytes = 0;
  std::uint64_t remote_bytes = 0;
  std::uint64_t local_only_bytes = 0;
  std::uint64_t peak_resident_bytes = 0;
  std::vector<ChildProcess> children;
};

// Where a space stands between two homes; proto/ashlar/v1/spaces.proto says what each means. In the same order.
enum class SpaceState { kFencing, kNoHome, kOpening, kRefilling, kServed };

struct HomedSpace {  // as its pnode knows it
  SpaceId space;
  Epoch epoch;
  std::string home;
  SpaceState state = SpaceState::kServed;
  std::uint64_t extents = 0, extents_to_refill = 0, extents_refilled = 0;
  absl::Duration since_left;  // zero: it never left a home
};

struct KeptSpace {  // as its home knows it
  SpaceId space;
  std::string snode;
  bool current = false;
  std::uint64_t live_bytes = 0, behind_bytes = 0;
};

struct SpaceList {
  std::vector<HomedSpace> homed;
  std::vector<KeptSpace> kept;
};

struct ProgramStats {
  SpaceId program;
  std::string name;
  int pid = 0;
  bool ended = false;
  StatList stats;
};

struct NodeStats {
  StatList node;
  std::vector<ProgramStats> programs;
};

}  // namespace ashlar::control
