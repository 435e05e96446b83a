#include "cli/ask_nodes.h"

#include "absl/strings/str_cat.h"
#include "common/config/exit_code.h"
#include "common/config/nearest.h"

namespace ashlar::cli {

std::vector<const config::Node*> AllNodes(const config::Topology& topology) {
  std::vector<const config::Node*> nodes;
  for (const config::Node& node : topology.nodes) nodes.push_back(&node);
  return nodes;
}

Outcome UnknownNode(const config::Topology& topology, std::string_view id) {
  std::vector<std::string_view> known;
  std::string listed;
  for (const config::Node& node : topology.nodes) {
    known.push_back(node.id);
    absl::StrAppend(&listed, listed.empty() ? "" : ", ", node.id);
  }
  const std::string_view nearest = config::NearestWord(id, known);
  std::string hint = nearest.empty() ? absl::StrCat("nodes: ", listed)
                                     : absl::StrCat("did you mean \"", absl::string_view(nearest.data(), nearest.size()), "\"?");
  return {.exit_code = config::kExitUsage, .out = "",
          .err = absl::StrCat("ashlar: cluster ", topology.cluster, " has no node \"", Printable(id), "\"; ", hint, "\n")};
}

std::string StartFix(const config::Node& node) {
  const std::string_view role = config::NodeRoleName(node.role);
  const std::string unit = absl::StrCat("ashlar-", absl::string_view(role.data(), role.size()), "@", node.id);
  return absl::StrCat("on ", node.host, ": systemctl status ", unit, ", or start ashlar-",
                      absl::string_view(role.data(), role.size()), " --id ", node.id);
}

std::string AwayLine(const config::Node& node, const absl::Status& why) {
  return absl::StrCat("ashlar: ", node.id, " does not answer: ", Printable(std::string(why.message())), "\n     fix: ",
                      StartFix(node), "\n");
}

}  // namespace ashlar::cli
