// Which cluster the command talks to. Threads: pure but for the file and the environment.
#pragma once

#include <string>
#include <vector>

#include "cli/options.h"
#include "common/config/topology.h"

namespace ashlar::cli {

// `given` (--topology) if not empty; else $ASHLAR_TOPOLOGY; else the first that exists of
// $XDG_CONFIG_HOME/ashlar/topology.yaml (~/.config), /etc/ashlar/topology.yaml. Empty: none; `looked_at` gets the places.
std::string FindTopology(const std::string& given, std::vector<std::string>* looked_at);

struct LoadedTopology {
  config::Topology topology;
  std::optional<Outcome> failure;  // exit 78 with words that name the file or the places
};
LoadedTopology LoadTopologyFor(const CommonOptions& options);

}  // namespace ashlar::cli
