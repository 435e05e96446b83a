#include "cli/stats.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "cli/topology_lookup.h"
#include "cli/verbs.h"
#include "common/config/exit_code.h"
#include "common/config/units.h"

namespace ashlar::cli {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

// Both forms of a unit: of a gauge and of a counter.
bool HasUnit(std::string_view name, std::string_view unit) {
  return absl::EndsWith(View(name), absl::StrCat("_", View(unit))) || absl::EndsWith(View(name), absl::StrCat("_", View(unit), "_total"));
}

std::string FormatValue(std::string_view name, std::uint64_t value) {
  if (HasUnit(name, "bytes")) return config::HumanSize(value);
  if (HasUnit(name, "ns")) return config::HumanDuration(absl::Nanoseconds(static_cast<std::int64_t>(value)));
  return absl::StrCat(value);
}

// "source=remote,kind=read" → "remote/read": which key it is shows from the words.
std::string LabelWords(std::string_view labels) {
  std::vector<std::string> words;
  for (absl::string_view label : absl::StrSplit(View(labels), ',', absl::SkipEmpty())) {
    const std::size_t equals = label.find('=');
    words.emplace_back(equals == label.npos ? label : label.substr(equals + 1));
  }
  return absl::StrJoin(words, "/");
}

Json LabelsJson(std::string_view labels) {
  Json object = Json::Object();
  for (absl::string_view label : absl::StrSplit(View(labels), ',', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> split = absl::StrSplit(label, absl::MaxSplits('=', 1));
    object.Set({split.first.data(), split.first.size()}, std::string(split.second));
  }
  return object;
}

struct Line {
  std::string name;
  std::string values;
};

// Values of one name on one line, in the order in which the names first appear.
std::vector<Line> LinesOf(const StatList& stats, std::string_view group, bool all) {
  std::vector<Line> lines;
  for (const Stat& stat : stats.values) {
    if (GroupOf(stat.name) != group || (stat.value == 0 && !all)) continue;
    auto line = std::find_if(lines.begin(), lines.end(), [&](const Line& one) { return one.name == stat.name; });
    if (line == lines.end()) line = lines.insert(lines.end(), {stat.name, ""});
    const std::string label = LabelWords(stat.labels);
    absl::StrAppend(&line->values, line->values.empty() ? "" : "   ", label, label.empty() ? "" : " ", FormatValue(stat.name, stat.value));
  }
  return lines;
}

std::string RenderHistograms(const StatList& stats, bool all, std::string_view indent) {
  using enum Table::Align;
  Table table({kLeft, kLeft, kRight, kRight, kRight, kRight}, {"latency and sizes", "", "count", "p50", "p99", "max"});
  for (const HistogramStat& histogram : stats.histograms) {
    const HistogramSnapshot& snapshot = histogram.snapshot;
    if (snapshot.count == 0 && !all) continue;
    table.Row({histogram.name, LabelWords(histogram.labels), absl::StrCat(snapshot.count),
               FormatValue(histogram.name, snapshot.Quantile(0.5)), FormatValue(histogram.name, snapshot.Quantile(0.99)),
               FormatValue(histogram.name, snapshot.max)});
  }
  return table.empty() ? "" : table.ToString(indent);
}

std::string ProgramTitle(const control::ProgramStats& program, const std::string& pnode) {
  return absl::StrCat(Printable(program.name), "  pid ", program.pid, " on ", pnode, program.ended ? "  (ended)\n" : "\n");
}

// What is left to show of the answers, for this target.
struct Selection {
  StatsAnswers answers;
  bool node_values = true;
};

Json SelectionJson(const Selection& selection) {
  Json nodes = Json::Array();
  Json programs = Json::Array();
  Json away = Json::Array();
  for (const auto& [node, answer] : selection.answers) {
    if (!answer.ok()) {
      away.Add(Json::Object().Set("id", node->id).Set("error", std::string(answer.status().message())));
      continue;
    }
    if (selection.node_values) {
      Json one = Json::Object().Set("id", node->id).Set("role", config::NodeRoleName(node->role));
      SetStatsJson(answer->node, &one);
      nodes.Add(one);
    }
    for (const control::ProgramStats& program : answer->programs) {
      Json one = Json::Object()
                     .Set("program", absl::StrCat(absl::Hex(program.program.value(), absl::kZeroPad16)))
                     .Set("name", program.name)
                     .Set("pid", program.pid)
                     .Set("pnode", node->id)
                     .Set("ended", program.ended);
      SetStatsJson(program.stats, &one);
      programs.Add(one);
    }
  }
  return Json::Object().Set("schema", "ashlar.stats/1").Set("nodes", nodes).Set("programs", programs).Set("away", away);
}

std::string RenderSelection(const Selection& selection, const Options& options) {
  std::string out;
  for (const auto& [node, answer] : selection.answers) {
    if (!answer.ok()) continue;
    if (selection.node_values) {
      const std::string role(config::NodeRoleName(node->role));
      absl::StrAppend(&out, options.common.style.Strong(node->id), "  ", role, "\n", RenderStats(answer->node, options.all, "  "));
    }
    for (const control::ProgramStats& program : answer->programs) {
      absl::StrAppend(&out, options.common.style.Strong(ProgramTitle(program, node->id)), RenderStats(program.stats, options.all, "  "));
    }
  }
  return out;
}

StatsAnswers Ask(const std::vector<const config::Node*>& nodes, bool include_ended, const Options& options) {
  return AskNodes<control::NodeStats>(nodes, options.common.timeout,
                                      [=](const config::Node&, control::ControlClient& client, absl::Duration timeout) {
                                        return client.GetStats(SpaceId(0), include_ended, timeout);
                                      });
}

// Keeps the wanted program alone: those that run, or, if none does, the last that ended on each pnode. false: none of the
// answers has it.
bool KeepProgram(std::string_view target, Selection* selection) {
  bool runs = false;
  bool found = false;
  selection->node_values = false;
  for (auto& [node, answer] : selection->answers) {
    if (!answer.ok()) continue;
    std::erase_if(answer->programs, [&](const control::ProgramStats& program) { return !IsProgram(program, target); });
    found |= !answer->programs.empty();
    runs |= std::any_of(answer->programs.begin(), answer->programs.end(), [](const auto& program) { return !program.ended; });
  }
  for (auto& [node, answer] : selection->answers) {
    if (!answer.ok() || answer->programs.empty()) continue;
    if (runs) {
      std::erase_if(answer->programs, [](const control::ProgramStats& program) { return program.ended; });
    } else {
      answer->programs.erase(answer->programs.begin(), answer->programs.end() - 1);  // oldest first
    }
  }
  return found;
}

}  // namespace

bool IsProgram(const control::ProgramStats& program, std::string_view target) {
  return target == program.name || target == absl::StrCat(program.pid) ||
         target == absl::StrCat(absl::Hex(program.program.value(), absl::kZeroPad16));
}

std::string_view GroupOf(std::string_view name) {
  struct Rule {
    std::string_view prefix;
    std::string_view group;
  };
  static constexpr Rule kRules[] = {{"fault", "faults"},    {"fit_", "fit"},       {"fabric_", "fabric"}, {"pool_", "pool"},
                                    {"extents", "pool"},    {"spaces", "pool"},    {"intake_", "pool"},   {"log_", "log"},
                                    {"segments", "log"},    {"batch", "log"},      {"fences", "log"},     {"replica_", "replicas"},
                                    {"degraded_", "replicas"}, {"unprotected_", "replicas"}};
  for (const Rule& rule : kRules) {
    if (name.substr(0, rule.prefix.size()) == rule.prefix) return rule.group;
  }
  if (name.find("pages") != name.npos) return "pages";
  if (HasUnit(name, "bytes")) return "bytes";
  return "other";
}

std::string RenderStats(const StatList& stats, bool all, std::string_view indent) {
  std::string out;
  // Names are padded alike in all groups, so that the eye finds the column again.
  std::size_t width = 0;
  for (const Stat& stat : stats.values) {
    if (stat.value != 0 || all) width = std::max(width, stat.name.size());
  }
  for (std::string_view group : {"faults", "pages", "bytes", "pool", "log", "replicas", "fit", "fabric", "other"}) {
    const std::vector<Line> lines = LinesOf(stats, group, all);
    if (lines.empty()) continue;
    absl::StrAppend(&out, View(indent), View(group), "\n");
    for (const Line& line : lines) {
      absl::StrAppend(&out, View(indent), "  ", Printable(line.name), std::string(width - line.name.size() + 2, ' '), Printable(line.values), "\n");
    }
  }
  absl::StrAppend(&out, RenderHistograms(stats, all, indent));
  if (out.empty()) out = absl::StrCat(View(indent), "nothing counted yet\n");
  return out;
}

void SetStatsJson(const StatList& stats, Json* object) {
  Json values = Json::Array();
  for (const Stat& stat : stats.values) {
    values.Add(Json::Object().Set("name", stat.name).Set("labels", LabelsJson(stat.labels)).Set("value", stat.value));
  }
  Json histograms = Json::Array();
  for (const HistogramStat& histogram : stats.histograms) {
    const HistogramSnapshot& snapshot = histogram.snapshot;
    Json buckets = Json::Array();
    for (std::size_t i = 0; i < snapshot.buckets.size(); ++i) {
      if (snapshot.buckets[i] == 0) continue;
      buckets.Add(Json::Object().Set("upper_bound", HistogramSnapshot::UpperBound(i)).Set("count", snapshot.buckets[i]));
    }
    histograms.Add(Json::Object()
                       .Set("name", histogram.name)
                       .Set("labels", LabelsJson(histogram.labels))
                       .Set("count", snapshot.count)
                       .Set("sum", snapshot.sum)
                       .Set("max", snapshot.max)
                       .Set("p50", snapshot.Quantile(0.5))
                       .Set("p99", snapshot.Quantile(0.99))
                       .Set("buckets", buckets));
  }
  object->Set("values", values).Set("histograms", histograms);
}

Outcome RunStats(const Options& options) {
  LoadedTopology loaded = LoadTopologyFor(options.common);
  if (loaded.failure) return *loaded.failure;
  std::vector<const config::Node*> nodes = AllNodes(loaded.topology);
  const config::Node* one = loaded.topology.FindNode(std::string_view(options.target));
  if (one != nullptr) nodes = {one};
  const bool wants_program = one == nullptr && !options.target.empty();
  if (wants_program) nodes = loaded.topology.NodesOf(config::NodeRole::kPnode);

  Selection selection{.answers = Ask(nodes, wants_program, options)};
  Outcome outcome;
  outcome.err = AwayWords(selection.answers);
  outcome.exit_code = outcome.err.empty() ? config::kExitOk : config::kExitUnavailable;
  if (wants_program && !KeepProgram(options.target, &selection)) {
    // With a pnode away nobody knows whether it is there.
    if (outcome.exit_code != config::kExitOk) return outcome;
    outcome = UnknownNode(loaded.topology, options.target);
    outcome.err += "and no pnode runs, or remembers, a program of that name or pid; `ashlar ps -a` lists them\n";
    return outcome;
  }
  outcome.out = options.common.json ? SelectionJson(selection).ToString() : RenderSelection(selection, options);
  return outcome;
}

}  // namespace ashlar::cli
