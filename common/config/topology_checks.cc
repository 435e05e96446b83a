#include "common/config/topology_checks.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "common/config/space_ids.h"
#include "common/config/units.h"

namespace ashlar::config {
namespace {

absl::string_view Edge(std::string_view text) { return {text.data(), text.size()}; }

class Checker {
 public:
  Checker(const Topology& topology, FaultList& faults) : topology_(topology), faults_(faults) {}

  void Check() {
    for (std::size_t i = 0; i < topology_.nodes.size(); ++i) CheckNode(topology_.nodes[i], absl::StrCat("nodes[", i, "]"));
    CheckRoles();
    CheckTimeouts();
  }

 private:
  void Fail(const std::string& path, std::string what, std::string hint) {
    const auto place = topology_.places.find(path);
    if (place != topology_.places.end()) faults_.Add(place->second, path, std::move(what), std::move(hint));
  }

  // "nodes[0].id (line 4)" of what was registered under `key` before; registers `path` if nothing was.
  template <typename K>
  std::string FirstUse(absl::flat_hash_map<K, std::string>& used, const K& key, const std::string& path) {
    const auto [first, is_new] = used.try_emplace(key, path);
    if (is_new) return "";
    const auto place = topology_.places.find(first->second);
    return absl::StrCat(first->second, " (line ", place == topology_.places.end() ? 0 : place->second.line, ")");
  }

  void CheckNode(const Node& node, const std::string& path) {
    if (!node.id.empty()) CheckIdentity(node, path);
    CheckAddress(node, node.control, path + ".control");
    for (std::size_t i = 0; i < node.fabric.size(); ++i) {
      CheckAddress(node, node.fabric[i].address, absl::StrCat(path, ".fabric[", i, "].address"));
    }
    if (node.log.path.empty()) return;
    const std::string log_path = path + ".log.path";
    if (const std::string first = FirstUse(logs_, std::pair(node.host, node.log.path), log_path); !first.empty()) {
      Fail(log_path, absl::StrCat("is the directory of ", first, " on the same host"), "give each snode its own");
    }
  }

  void CheckIdentity(const Node& node, const std::string& path) {
    const std::string id_path = path + ".id";
    if (const std::string first = FirstUse(ids_, node.id, id_path); !first.empty()) {
      Fail(id_path, absl::StrCat("repeats the id of ", first), "ids are unique in the file");
      return;
    }
    const std::string first = FirstUse(node_ids_, node.node_id, id_path);
    if (!first.empty() || node.node_id == NodeId()) {
      Fail(id_path, absl::StrCat("has the same node number as ", first.empty() ? "no node at all" : first),
           "the number comes from cluster and id; choose another id");
      return;
    }
    if (node.role != NodeRole::kPnode) return;
    if (const std::string same = FirstUse(prefixes_, SpacePrefixOf(node.node_id), id_path); !same.empty()) {
      Fail(id_path, absl::StrCat("would number its spaces like ", same),
           "the numbers come from cluster and id; choose another id");
    }
  }

  void CheckAddress(const Node& node, const Address& address, const std::string& path) {
    if (address.port == 0) return;  // it has a fault of its own
    if (const std::string first = FirstUse(addresses_, address.ToString(), path); !first.empty()) {
      Fail(path, absl::StrCat("repeats the address of ", first), "each service listens on an address of its own");
    } else if (const std::string same_host = FirstUse(ports_, std::pair(node.host, address.port), path); !same_host.empty()) {
      Fail(path, absl::StrCat("port ", address.port, " is taken on host ", Quoted(node.host), " by ", same_host),
           "use each port once per host");
    }
    if (!address.is_loopback && !topology_.insecure) {
      Fail(path, absl::StrCat("is not on loopback, and this version (" ASHLAR_VERSION ") has no TLS yet"),
           "use 127.0.0.1, or accept plaintext by \"insecure: true\" at the top level");
    }
  }

  void CheckRoles() {
    const auto count = [this](NodeRole role) {
      return std::count_if(topology_.nodes.begin(), topology_.nodes.end(), [role](const Node& n) { return n.role == role; });
    };
    if (topology_.nodes.empty() || count(NodeRole::kUnknown) > 0) return;
    if (count(NodeRole::kPnode) > 0 && count(NodeRole::kMnode) == 0) {
      Fail("nodes", "has a pnode but no mnode that could lend it memory", "add a node with role: mnode");
    }
    if (topology_.defaults.replicas > static_cast<std::uint64_t>(count(NodeRole::kSnode))) {
      const bool written = topology_.places.contains("defaults.replicas");
      Fail(written ? "defaults.replicas" : "nodes",
           absl::StrCat(written ? "is " : "defaults.replicas is ", topology_.defaults.replicas, written ? "" : " by default",
                        ", but there are ", count(NodeRole::kSnode), " snodes"),
           "add a node with role: snode, or write \"defaults: {replicas: 0}\" to live without durable copies");
    }
  }

  void CheckTimeouts() {
    const Timeouts& timeouts = topology_.defaults.timeouts;
    const auto check = [this](bool holds, std::string_view key, std::string_view other, std::string_view rule,
                              absl::Duration limit) {
      if (holds) return;
      const std::string own = absl::StrCat("defaults.timeouts.", Edge(key));
      // The one that is written gets the caret; the other may be a default.
      const bool written = topology_.places.contains(own);
      Fail(written ? own : absl::StrCat("defaults.timeouts.", Edge(other)),
           absl::StrCat(Edge(key), " must be ", Edge(rule), " ", Edge(other), " (", DurationLiteral(limit), ")"), "");
    };
    check(timeouts.suspect >= 2 * timeouts.keep_alive, "suspect", "keep_alive", "at least twice", timeouts.keep_alive);
    check(timeouts.give_up > timeouts.suspect, "give_up", "suspect", "more than", timeouts.suspect);
    check(timeouts.give_up >= timeouts.call, "give_up", "call", "at least", timeouts.call);
  }

  const Topology& topology_;
  FaultList& faults_;
  absl::flat_hash_map<std::string, std::string> ids_;  // each: what is taken → path of the first to take it
  absl::flat_hash_map<NodeId, std::string> node_ids_;
  absl::flat_hash_map<std::uint64_t, std::string> prefixes_;
  absl::flat_hash_map<std::string, std::string> addresses_;
  absl::flat_hash_map<std::pair<std::string, std::uint16_t>, std::string> ports_;
  absl::flat_hash_map<std::pair<std::string, std::string>, std::string> logs_;  // (host, path)
};

}  // namespace

void CheckTopology(const Topology& topology, FaultList& faults) { Checker(topology, faults).Check(); }

}  // namespace ashlar::config
