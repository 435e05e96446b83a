// `ashlar ps`: what it shows, apart from asking for it. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/ask_nodes.h"
#include "cli/json.h"
#include "common/control/node_types.h"

namespace ashlar::cli {

using ProgramLists = std::vector<NodeAnswer<std::vector<control::ProgramInfo>>>;

std::string RenderPs(const ProgramLists& lists, absl::Time now);
Json PsJson(const ProgramLists& lists);

}  // namespace ashlar::cli
