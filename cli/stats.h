// `ashlar stats`: what it shows, apart from asking for it. Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "cli/ask_nodes.h"
#include "cli/json.h"
#include "cli/table.h"
#include "common/control/node_types.h"

namespace ashlar::cli {

using StatsAnswers = std::vector<NodeAnswer<control::NodeStats>>;

// One or all nodes; or, with a program, only that: by pid, name, or space in hex.
bool IsProgram(const control::ProgramStats& program, std::string_view target);

// The heading under which a value stands: "faults", "pages", "bytes", "fit", "fabric", "pool", "log", "other". By its name.
std::string_view GroupOf(std::string_view name);

// The list for people: grouped, one line per name, labels as words. What is 0 is left out unless `all`.
std::string RenderStats(const StatList& stats, bool all, std::string_view indent);
// "values" and "histograms", set on `object`.
void SetStatsJson(const StatList& stats, Json* object);

}  // namespace ashlar::cli
