// The whole cluster as one YAML file says it: read strictly, checked whole, typed. The same file lies on every node and
// a daemon finds itself in it by `--id`. What each key means stands in configs/example.yaml.
//
// Threads: values; the functions are pure but for LoadTopology, which reads one file and nothing else.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "common/base/ids.h"
#include "common/config/address.h"
#include "common/config/fault.h"
#include "common/telemetry/log.h"

namespace ashlar::config {

enum class NodeRole { kUnknown, kPnode, kMnode, kSnode };  // kUnknown never leaves the parser
std::string_view NodeRoleName(NodeRole role);              // "pnode" | "mnode" | "snode"

enum class FabricKind { kTcp };
enum class HugePages { kNo, kTry };
enum class AckLevel { kHome, kDisk };       // of a write-back; kHome is reached, never asked for
enum class OnGiveUp { kHold, kKill };
enum class Placement { kMostFree, kWeight };  // of a space on an mnode

struct FabricEndpoint {
  FabricKind kind = FabricKind::kTcp;
  Address address;
};

struct LogSettings {
  std::string path;                  // as written; see LogPath
  std::uint64_t capacity_bytes = 0;  // whole 64 MiB segments
};

struct Node {
  std::string id;
  NodeRole role = NodeRole::kUnknown;
  NodeId node_id;                       // NodeIdOf(cluster, id)
  std::string host;                     // failure domain; default: the control address' ip
  Address control;                      // gRPC
  std::vector<FabricEndpoint> fabric;   // in order of preference, at least one
  std::uint64_t cache_bytes = 0;        // pnode: bound of the ExCache; 0 on others
  std::uint64_t victim_percent = 12;    // pnode: part of a program's limit that stages evicted pages
  std::uint64_t pool_bytes = 0;         // mnode: registered memory it lends; whole extents; 0 on others
  HugePages huge_pages = HugePages::kTry;  // mnode
  std::uint64_t weight = 1;             // mnode: its share of the spaces with placement: weight; 0 = only if no other is there
  LogSettings log;                      // snode
};

struct Timeouts {
  absl::Duration call = absl::Seconds(1);              // one FIT call
  absl::Duration keep_alive = absl::Milliseconds(100); // without sending, before a keep-alive
  absl::Duration suspect = absl::Milliseconds(500);    // of silence, before the peer is suspected
  absl::Duration fail_over = absl::Milliseconds(200);  // without a link to an mnode, before its spaces get another home
  absl::Duration replace = absl::Seconds(3);           // without a link to an snode, before another keeps its spaces
  absl::Duration give_up = absl::Seconds(60);          // a program waits this long for a page or a write-back
};

struct Defaults {
  AckLevel ack = AckLevel::kDisk;
  std::uint64_t replicas = 1;  // snodes per page; 0 = none: no page outlives its mnode
  Placement placement = Placement::kMostFree;
  OnGiveUp on_give_up = OnGiveUp::kHold;
  Timeouts timeouts;

  // The level a write-back is acknowledged with.
  AckLevel ReachedLevel() const { return replicas == 0 ? AckLevel::kHome : ack; }
};

struct Topology {
  std::uint64_t version = 0;
  std::string cluster;
  std::vector<Node> nodes;
  Defaults defaults;
  bool insecure = false;  // plaintext off loopback, asked for in so many words
  log::Level log_level = log::Level::kInfo;

  // Where each value stood, by path ("nodes[0].cache_bytes"): for faults that show later than at parsing.
  std::map<std::string, Place, std::less<>> places;

  const Node* FindNode(std::string_view id) const;  // nullptr: not there
  const Node* FindNode(NodeId id) const;
  // The nodes of one role, in the file's order.
  std::vector<const Node*> NodesOf(NodeRole role) const;
};

struct TopologyResult {
  Topology topology;          // whole and checked if ok(), otherwise not to be used
  std::vector<Fault> faults;  // all of them, sorted by place
  bool ok() const { return faults.empty(); }
};

// `filename` appears in the faults only. Never throws or crashes, whatever the bytes.
TopologyResult ParseTopology(std::string_view text, std::string_view filename);
TopologyResult LoadTopology(const std::string& path);

// What only the host of a node can know: the id is there, has the role of this daemon, and its cache or pool is less
// than the host's memory. Empty = fine.
std::vector<Fault> CheckForNode(const Topology& topology, std::string_view id, NodeRole daemon_role,
                                std::uint64_t host_memory_bytes);
// Physical memory of this host; 0 if the system does not say.
std::uint64_t HostMemoryBytes();

// First 8 bytes of SHA-256(cluster '/' id), little-endian.
NodeId NodeIdOf(std::string_view cluster, std::string_view id);

// log.path of an snode: as written if absolute, else under `state_dir`.
std::string LogPath(const LogSettings& log, std::string_view state_dir);

}  // namespace ashlar::config
