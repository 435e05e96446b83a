#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/ask_nodes.h"
#include "cli/topology_lookup.h"
#include "cli/verbs.h"
#include "common/service/run_socket.h"

namespace ashlar::cli {
namespace {

RunPlace Failed(std::string words) {
  return {.socket_path = "", .control_address = "", .failure = Outcome{.exit_code = kExitRunFailed, .out = "", .err = std::move(words)}};
}

RunPlace At(const config::Node& pnode) {
  absl::StatusOr<std::string> socket = service::FindRunSocket(pnode.id);
  if (socket.ok()) return {.socket_path = *std::move(socket), .control_address = pnode.control.ToString(), .failure = std::nullopt};
  return Failed(absl::StrCat("ashlar: run: ", socket.status().message(), "\n     fix: ", StartFix(pnode), "\n"));
}

RunPlace AtTheOnlyOne(const config::Topology& topology) {
  std::vector<RunPlace> found;
  std::vector<std::string> ids;
  std::string looked;
  for (const config::Node* pnode : topology.NodesOf(config::NodeRole::kPnode)) {
    RunPlace place = At(*pnode);
    if (place.failure) {
      looked += place.failure->err;
      continue;
    }
    found.push_back(std::move(place));
    ids.push_back(pnode->id);
  }
  if (found.size() == 1) return found.front();
  if (!found.empty()) return Failed(absl::StrCat("ashlar: run: several pnodes run on this host; choose one: --on ", absl::StrJoin(ids, " | "), "\n"));
  return Failed(looked.empty() ? absl::StrCat("ashlar: run: cluster ", topology.cluster, " has no pnode\n") : looked);
}

}  // namespace

RunPlace FindRunPlace(const Options& options) {
  LoadedTopology loaded = LoadTopologyFor(options.common);
  if (loaded.failure) return Failed(std::move(loaded.failure->err));
  if (options.run.on.empty()) return AtTheOnlyOne(loaded.topology);
  const config::Node* pnode = loaded.topology.FindNode(std::string_view(options.run.on));
  if (pnode == nullptr) return Failed(UnknownNode(loaded.topology, options.run.on).err);
  if (pnode->role != config::NodeRole::kPnode) return Failed(absl::StrCat("ashlar: run: --on ", pnode->id, ": programs run on pnodes\n"));
  return At(*pnode);
}

}  // namespace ashlar::cli
