// `ashlar status`: what it shows, apart from asking for it. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/ask_nodes.h"
#include "cli/json.h"
#include "cli/table.h"
#include "common/control/node_types.h"

namespace ashlar::cli {

struct NodeReport {
  control::NodeStatus status;
  std::size_t programs_running = 0;  // on a pnode
};
using NodeReports = std::vector<NodeAnswer<NodeReport>>;

// OK: every node answers, is ready and knows of no problem. WARN: all answer. DOWN: one does not.
enum class Verdict { kOk, kWarn, kDown };

struct NodeProblem {
  std::string node;
  control::Problem problem;
};

// What the nodes say, and what only a view of all of them shows: a node that is away, not ready, or another than the
// topology says. In the topology's order.
std::vector<NodeProblem> ProblemsOf(const config::Topology& topology, const NodeReports& reports);
Verdict VerdictOf(const NodeReports& reports, const std::vector<NodeProblem>& problems);

std::string RenderStatus(const config::Topology& topology, const NodeReports& reports, bool with_links, const Style& style);
Json StatusJson(const config::Topology& topology, const NodeReports& reports);

std::string_view LinkStateName(fit::LinkState state);
std::string_view HealthName(control::Health health);

}  // namespace ashlar::cli
