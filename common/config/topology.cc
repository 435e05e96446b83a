#include "common/config/topology.h"

#include <fcntl.h>
#include <openssl/sha.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "common/config/document.h"
#include "common/config/fault_list.h"
#include "common/config/lexical_check.h"
#include "common/config/nearest.h"
#include "common/config/topology_checks.h"
#include "common/config/topology_schema.h"
#include "common/config/units.h"

namespace ashlar::config {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

// What follows from the keys that are there.
void FillIn(Topology& topology) {
  for (Node& node : topology.nodes) {
    if (node.host.empty()) node.host = node.control.ip;
    node.node_id = NodeIdOf(topology.cluster, node.id);
  }
}

// At most one byte more than a topology may have: enough to tell that it is too large.
absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(errno, "cannot open");
  std::string text(kMaxFileBytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(fd.get(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, "cannot read");
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  text.resize(size);
  return text;
}

}  // namespace

std::string_view NodeRoleName(NodeRole role) {
  switch (role) {
    case NodeRole::kPnode:
      return "pnode";
    case NodeRole::kMnode:
      return "mnode";
    case NodeRole::kSnode:
      return "snode";
    case NodeRole::kUnknown:
      break;
  }
  return "unknown";
}

const Node* Topology::FindNode(std::string_view id) const {
  for (const Node& node : nodes) {
    if (node.id == id) return &node;
  }
  return nullptr;
}

const Node* Topology::FindNode(NodeId id) const {
  for (const Node& node : nodes) {
    if (node.node_id == id) return &node;
  }
  return nullptr;
}

std::vector<const Node*> Topology::NodesOf(NodeRole role) const {
  std::vector<const Node*> matching;
  for (const Node& node : nodes) {
    if (node.role == role) matching.push_back(&node);
  }
  return matching;
}

TopologyResult ParseTopology(std::string_view text, std::string_view filename) {
  if (text.starts_with(kByteOrderMark)) text.remove_prefix(kByteOrderMark.size());
  TopologyResult result;
  if (text.size() > kMaxFileBytes) {
    FaultList faults("", filename);
    faults.AddForFile("is larger than 1 MiB", "is this a topology?");
    result.faults = faults.Take();
    return result;
  }
  FaultList faults(text, filename);
  Value root;
  if (ParseDocument(text, faults, &root)) {
    Topology& topology = result.topology;
    ReadMapping(Scope{faults, topology.places, ""}, root, TopologyKeys(), topology);
    FillIn(topology);
    CheckTopology(topology, faults);
  }
  result.faults = faults.Take();
  return result;
}

TopologyResult LoadTopology(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (text.ok()) return ParseTopology(*text, path);
  FaultList faults("", path);
  faults.AddForFile(std::string(text.status().message()));
  return {.topology = {}, .faults = faults.Take()};
}

std::vector<Fault> CheckForNode(const Topology& topology, std::string_view id, NodeRole daemon_role,
                                std::uint64_t host_memory_bytes) {
  const auto fault = [&topology](const std::string& path, std::string what, std::string hint) {
    const auto place = topology.places.find(path);
    return std::vector<Fault>{{place == topology.places.end() ? Place{} : place->second, path, std::move(what), std::move(hint)}};
  };
  const Node* node = topology.FindNode(id);
  if (node == nullptr) {
    std::vector<std::string_view> ids;
    for (const Node* candidate : topology.NodesOf(daemon_role)) ids.push_back(candidate->id);
    const std::string_view nearest = NearestWord(id, ids);
    std::string known;
    for (std::string_view candidate : ids) {
      absl::StrAppend(&known, known.empty() ? "" : ", ", absl::string_view(candidate.data(), candidate.size()));
    }
    return fault("nodes", absl::StrCat("has no node with the id ", Quoted(id)),
                 nearest.empty() ? absl::StrCat("ids with this role: ", known.empty() ? "none" : known)
                                 : absl::StrCat("did you mean ", Quoted(nearest), "?"));
  }
  const std::string path = absl::StrCat("nodes[", node - topology.nodes.data(), "]");
  if (node->role != daemon_role) {
    const std::string role(NodeRoleName(node->role));
    return fault(path + ".role", absl::StrCat(Quoted(id), " is a ", role), absl::StrCat("start ashlar-", role, " for it"));
  }
  if (host_memory_bytes == 0) return {};
  for (const auto& [key, bytes] : {std::pair("cache_bytes", node->cache_bytes), std::pair("pool_bytes", node->pool_bytes)}) {
    if (bytes < host_memory_bytes) continue;
    return fault(absl::StrCat(path, ".", key),
                 absl::StrCat("must be less than this host's memory of ", HumanSize(host_memory_bytes), ", got ", HumanSize(bytes)),
                 "leave room for the programs and the system");
  }
  return {};
}

std::uint64_t HostMemoryBytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page_bytes = ::sysconf(_SC_PAGESIZE);
  return pages <= 0 || page_bytes <= 0 ? 0 : static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page_bytes);
}

NodeId NodeIdOf(std::string_view cluster, std::string_view id) {
  const std::string name = absl::StrCat(absl::string_view(cluster.data(), cluster.size()), "/", absl::string_view(id.data(), id.size()));
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  ::SHA256(reinterpret_cast<const unsigned char*>(name.data()), name.size(), digest.data());
  std::uint64_t number = 0;
  for (std::size_t i = 0; i < sizeof(number); ++i) number |= std::uint64_t{digest[i]} << (8 * i);
  return NodeId(number);
}

std::string LogPath(const LogSettings& log, std::string_view state_dir) {
  if (log.path.starts_with('/')) return log.path;
  return absl::StrCat(absl::string_view(state_dir.data(), state_dir.size()), "/", log.path);
}

}  // namespace ashlar::config
