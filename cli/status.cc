#include "cli/status.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/topology_lookup.h"
#include "cli/verbs.h"
#include "common/base/status.h"
#include "common/config/exit_code.h"
#include "common/config/units.h"

namespace ashlar::cli {
namespace {

// Both questions to a pnode share the time that one may take.
absl::StatusOr<NodeReport> AskOne(const config::Node& node, control::ControlClient& client, absl::Duration timeout) {
  const absl::Time until = absl::Now() + timeout;
  NodeReport report;
  ASHLAR_ASSIGN_OR_RETURN(report.status, client.GetStatus(timeout));
  if (node.role != config::NodeRole::kPnode || report.status.node.role != node.role) return report;
  ASHLAR_ASSIGN_OR_RETURN(const std::vector<control::ProgramInfo> programs, client.ListPrograms(false, until - absl::Now()));
  report.programs_running = programs.size();
  return report;
}

std::string UsageWords(const std::vector<control::Usage>& usage) {
  std::string words;
  for (const control::Usage& one : usage) {
    absl::StrAppend(&words, words.empty() ? "" : "  ", one.name, " ", config::HumanSize(one.used_bytes), " of ",
                    config::HumanSize(one.limit_bytes));
  }
  return words;
}

std::string LinkWords(const std::vector<control::LinkStatus>& links) {
  std::string words;
  for (const control::LinkStatus& link : links) {
    const std::string_view state = LinkStateName(link.state);
    absl::StrAppend(&words, words.empty() ? "links " : ", ", link.peer, " ", absl::string_view(state.data(), state.size()));
  }
  return words;
}

std::string VerdictWord(Verdict verdict, const Style& style) {
  switch (verdict) {
    case Verdict::kOk:
      return style.Good("OK");
    case Verdict::kWarn:
      return style.Warn("WARN");
    case Verdict::kDown:
      return style.Bad("DOWN");
  }
  return "";
}

std::string_view VerdictName(Verdict verdict) {
  switch (verdict) {
    case Verdict::kOk:
      return "OK";
    case Verdict::kWarn:
      return "WARN";
    case Verdict::kDown:
      return "DOWN";
  }
  return "";
}

void AddLinkRows(Table& table, const control::NodeStatus& status) {
  for (const control::LinkStatus& link : status.links) {
    table.Row({absl::StrCat("link ", link.peer), "tcp", std::string(LinkStateName(link.state)),
               absl::StrCat("for ", config::HumanDuration(link.in_state)), absl::StrCat(link.reconnects_total, " reconnects"),
               link.last_failure.empty() ? "" : absl::StrCat("last failure: ", link.last_failure)});
  }
}

Json LinkJson(const control::LinkStatus& link) {
  return Json::Object()
      .Set("peer", link.peer)
      .Set("backend", "tcp")
      .Set("state", LinkStateName(link.state))
      .Set("in_state_ns", absl::ToInt64Nanoseconds(link.in_state))
      .Set("last_failure", link.last_failure)
      .Set("reconnects_total", link.reconnects_total)
      .Set("connection_epoch", link.connection_epoch);
}

Json ReportJson(const NodeAnswer<NodeReport>& report) {
  Json node = Json::Object();
  node.Set("id", report.node->id).Set("role", config::NodeRoleName(report.node->role)).Set("control", report.node->control.ToString());
  node.Set("reachable", report.answer.ok());
  if (!report.answer.ok()) return node.Set("error", std::string(report.answer.status().message()));
  const control::NodeStatus& status = report.answer->status;
  node.Set("health", HealthName(status.health));
  node.Set("version", status.node.version).Set("pid", status.node.pid);
  node.Set("node_id", absl::StrCat(absl::Hex(status.node.node_id.value(), absl::kZeroPad16)));
  node.Set("incarnation", status.node.incarnation.value());
  node.Set("uptime_ns", absl::ToInt64Nanoseconds(status.uptime));
  if (report.node->role == config::NodeRole::kPnode) node.Set("programs_running", report.answer->programs_running);
  Json links = Json::Array();
  for (const control::LinkStatus& link : status.links) links.Add(LinkJson(link));
  Json usage = Json::Array();
  for (const control::Usage& one : status.usage) {
    usage.Add(Json::Object().Set("name", one.name).Set("used_bytes", one.used_bytes).Set("limit_bytes", one.limit_bytes));
  }
  return node.Set("links", links).Set("usage", usage);
}

}  // namespace

std::string_view LinkStateName(fit::LinkState state) {
  switch (state) {
    case fit::LinkState::kOpening:
      return "opening";
    case fit::LinkState::kConnecting:
      return "connecting";
    case fit::LinkState::kUp:
      return "up";
    case fit::LinkState::kDraining:
      return "draining";
    case fit::LinkState::kBackOff:
      return "waiting to retry";
  }
  return "";
}

std::string_view HealthName(control::Health health) {
  switch (health) {
    case control::Health::kStarting:
      return "starting";
    case control::Health::kReady:
      return "ready";
    case control::Health::kStopping:
      return "stopping";
  }
  return "";
}

std::vector<NodeProblem> ProblemsOf(const config::Topology& topology, const NodeReports& reports) {
  std::vector<NodeProblem> problems;
  for (const auto& [node, answer] : reports) {
    const auto add = [&problems, node = node](std::string code, std::string text, std::string fix) {
      problems.push_back({node->id, {std::move(code), std::move(text), std::move(fix)}});
    };
    if (!answer.ok()) {
      add("NODE-AWAY", absl::StrCat(node->id, " does not answer: ", answer.status().message()), StartFix(*node));
      continue;
    }
    const control::NodeStatus& status = answer->status;
    if (status.node.cluster != topology.cluster || status.node.id != node->id) {
      add("WRONG-NODE",
          absl::StrCat("at ", node->control.ToString(), " answers ", status.node.id, " of cluster ", status.node.cluster),
          absl::StrCat("give both the same topology file; ", node->id, "'s address is taken"));
      continue;
    }
    if (status.health != control::Health::kReady) {
      const std::string_view health = HealthName(status.health);
      add("NOT-READY", absl::StrCat(node->id, " is ", absl::string_view(health.data(), health.size())),
          "wait, or see its log");
    }
    for (const control::Problem& problem : status.problems) problems.push_back({node->id, problem});
  }
  return problems;
}

Verdict VerdictOf(const NodeReports& reports, const std::vector<NodeProblem>& problems) {
  const bool down = std::any_of(reports.begin(), reports.end(), [](const auto& report) { return !report.answer.ok(); });
  if (down) return Verdict::kDown;
  return problems.empty() ? Verdict::kOk : Verdict::kWarn;
}

std::string RenderStatus(const config::Topology& topology, const NodeReports& reports, bool with_links, const Style& style) {
  const std::vector<NodeProblem> problems = ProblemsOf(topology, reports);
  const Verdict verdict = VerdictOf(reports, problems);
  std::size_t programs = 0;
  std::size_t reachable = 0;
  using enum Table::Align;
  Table nodes({kLeft, kLeft, kLeft, kLeft, kLeft, kLeft});
  Table links({kLeft, kLeft, kLeft, kLeft, kLeft, kLeft});
  for (const auto& [node, answer] : reports) {
    const std::string role(config::NodeRoleName(node->role));
    if (!answer.ok()) {
      nodes.Row({node->id, role, "away", node->control.ToString()});
      continue;
    }
    ++reachable;
    programs += answer->programs_running;
    const control::NodeStatus& status = answer->status;
    nodes.Row({node->id, role, std::string(HealthName(status.health)), absl::StrCat("up ", config::HumanDuration(status.uptime)),
               UsageWords(status.usage), LinkWords(status.links)});
    if (with_links) AddLinkRows(links, status);
  }
  std::string out = absl::StrCat(style.Strong(topology.cluster), "  ", VerdictWord(verdict, style), "  ", reachable, " of ",
                                 reports.size(), " nodes answer, ", programs, programs == 1 ? " program\n" : " programs\n");
  absl::StrAppend(&out, nodes.ToString("  "), links.ToString("    "));
  for (const NodeProblem& one : problems) {
    absl::StrAppend(&out, style.Warn("WARN"), " ", Printable(one.problem.code), "  ", Printable(one.problem.text),
                    "\n     fix: ", Printable(one.problem.fix), "\n");
  }
  return out;
}

Json StatusJson(const config::Topology& topology, const NodeReports& reports) {
  const std::vector<NodeProblem> problems = ProblemsOf(topology, reports);
  Json nodes = Json::Array();
  for (const auto& report : reports) nodes.Add(ReportJson(report));
  Json listed = Json::Array();
  for (const NodeProblem& one : problems) {
    listed.Add(Json::Object()
                   .Set("node", one.node)
                   .Set("code", one.problem.code)
                   .Set("text", one.problem.text)
                   .Set("fix", one.problem.fix));
  }
  return Json::Object()
      .Set("schema", "ashlar.status/1")
      .Set("cluster", topology.cluster)
      .Set("verdict", VerdictName(VerdictOf(reports, problems)))
      .Set("nodes", nodes)
      .Set("problems", listed);
}

Outcome RunStatus(const Options& options) {
  LoadedTopology loaded = LoadTopologyFor(options.common);
  if (loaded.failure) return *loaded.failure;
  std::vector<const config::Node*> nodes = AllNodes(loaded.topology);
  if (!options.target.empty()) {
    const config::Node* one = loaded.topology.FindNode(std::string_view(options.target));
    if (one == nullptr) return UnknownNode(loaded.topology, options.target);
    nodes = {one};
  }
  const NodeReports reports = AskNodes<NodeReport>(nodes, options.common.timeout, AskOne);
  const std::vector<NodeProblem> problems = ProblemsOf(loaded.topology, reports);
  Outcome outcome;
  outcome.exit_code = VerdictOf(reports, problems) == Verdict::kOk ? config::kExitOk : kExitBadState;
  outcome.out = options.common.json ? StatusJson(loaded.topology, reports).ToString()
                                    : RenderStatus(loaded.topology, reports, !options.target.empty(), options.common.style);
  return outcome;
}

}  // namespace ashlar::cli
