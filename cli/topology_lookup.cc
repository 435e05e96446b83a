#include "cli/topology_lookup.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/exit_code.h"

namespace ashlar::cli {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string FindTopology(const std::string& given, std::vector<std::string>* looked_at) {
  if (!given.empty()) return given;
  if (std::string named = Variable("ASHLAR_TOPOLOGY"); !named.empty()) return named;
  std::string config_home = Variable("XDG_CONFIG_HOME");
  if (config_home.empty() && !Variable("HOME").empty()) config_home = Variable("HOME") + "/.config";
  if (!config_home.empty()) looked_at->push_back(config_home + "/ashlar/topology.yaml");
  looked_at->push_back("/etc/ashlar/topology.yaml");
  for (const std::string& path : *looked_at) {
    if (::access(path.c_str(), F_OK) == 0) return path;
  }
  return "";
}

LoadedTopology LoadTopologyFor(const CommonOptions& options) {
  LoadedTopology loaded;
  std::vector<std::string> looked_at;
  const std::string path = FindTopology(options.topology, &looked_at);
  if (path.empty()) {
    loaded.failure = Outcome{.exit_code = config::kExitConfig,
                             .err = absl::StrCat("ashlar: no topology found: give --topology FILE, set ASHLAR_TOPOLOGY, or make ",
                                                 absl::StrJoin(looked_at, " or "), "\n")};
    return loaded;
  }
  config::TopologyResult result = config::LoadTopology(path);
  if (!result.ok()) {
    loaded.failure = Outcome{.exit_code = config::kExitConfig, .err = config::RenderFaults(result.faults)};
    return loaded;
  }
  loaded.topology = std::move(result.topology);
  return loaded;
}

}  // namespace ashlar::cli
