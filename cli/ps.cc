#include "cli/ps.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/topology_lookup.h"
#include "cli/verbs.h"
#include "common/config/exit_code.h"
#include "common/config/units.h"

namespace ashlar::cli {
namespace {

using control::ChildMode;
using control::ProgramState;

std::string_view StateName(ProgramState state) {
  switch (state) {
    case ProgramState::kRunning:
      return "running";
    case ProgramState::kEnded:
      return "ended";
    case ProgramState::kKilled:
      return "killed";
  }
  return "";
}

std::string_view ModeName(ChildMode mode) {
  switch (mode) {
    case ChildMode::kServed:
      return "served";
    case ChildMode::kLocal:
      return "local";
  }
  return "";
}

std::string ModeWords(ChildMode mode) {
  switch (mode) {
    case ChildMode::kServed:
      return "served (forked: its faults are answered, nothing of it is evicted)";
    case ChildMode::kLocal:
      return "local (it ran exec: an ordinary process)";
  }
  return "";
}

Json ProgramJson(const control::ProgramInfo& program, const std::string& pnode) {
  Json children = Json::Array();
  for (const control::ChildProcess& child : program.children) {
    children.Add(Json::Object().Set("pid", child.pid).Set("name", child.name).Set("mode", ModeName(child.mode)));
  }
  return Json::Object()
      .Set("program", absl::StrCat(absl::Hex(program.program.value(), absl::kZeroPad16)))
      .Set("name", program.name)
      .Set("pid", program.pid)
      .Set("uid", program.uid)
      .Set("pnode", pnode)
      .Set("started_unix_ns", absl::ToUnixNanos(program.started))
      .Set("state", StateName(program.state))
      .Set("state_reason", program.state_reason)
      .Set("limit_bytes", program.limit_bytes)
      .Set("resident_bytes", program.resident_bytes)
      .Set("staged_bytes", program.staged_bytes)
      .Set("remote_bytes", program.remote_bytes)
      .Set("local_only_bytes", program.local_only_bytes)
      .Set("peak_resident_bytes", program.peak_resident_bytes)
      .Set("children", children);
}

}  // namespace

std::string RenderPs(const ProgramLists& lists, absl::Time now) {
  using enum Table::Align;
  Table table({kLeft, kRight, kLeft, kLeft, kRight, kRight, kRight, kRight, kRight, kRight, kRight},
              {"PROGRAM", "PID", "PNODE", "STATE", "LIMIT", "RESIDENT", "STAGED", "REMOTE", "LOCAL-ONLY", "PEAK", "STARTED"});
  std::string notes;
  for (const auto& [node, answer] : lists) {
    if (!answer.ok()) continue;
    for (const control::ProgramInfo& program : *answer) {
      using config::HumanSize;
      table.Row({program.name, absl::StrCat(program.pid), node->id, std::string(StateName(program.state)),
                 HumanSize(program.limit_bytes), HumanSize(program.resident_bytes), HumanSize(program.staged_bytes),
                 HumanSize(program.remote_bytes), HumanSize(program.local_only_bytes), HumanSize(program.peak_resident_bytes),
                 absl::StrCat(config::HumanDuration(std::max(absl::ZeroDuration(), now - program.started)), " ago")});
      if (!program.state_reason.empty()) {
        absl::StrAppend(&notes, "pid ", program.pid, " ", std::string(StateName(program.state)), ": ", Printable(program.state_reason), "\n");
      }
      for (const control::ChildProcess& child : program.children) {
        absl::StrAppend(&notes, "pid ", program.pid, " has child ", child.pid, " ", Printable(child.name), ": ",
                        ModeWords(child.mode), "\n");
      }
    }
  }
  const bool all_answered = std::all_of(lists.begin(), lists.end(), [](const auto& list) { return list.answer.ok(); });
  if (table.empty()) return all_answered ? "no programs\n" : "";
  return table.ToString() + notes;
}

Json PsJson(const ProgramLists& lists) {
  Json programs = Json::Array();
  Json away = Json::Array();
  for (const auto& [node, answer] : lists) {
    if (!answer.ok()) {
      away.Add(Json::Object().Set("id", node->id).Set("error", std::string(answer.status().message())));
      continue;
    }
    for (const control::ProgramInfo& program : *answer) programs.Add(ProgramJson(program, node->id));
  }
  return Json::Object().Set("schema", "ashlar.ps/1").Set("programs", programs).Set("away", away);
}

Outcome RunPs(const Options& options) {
  LoadedTopology loaded = LoadTopologyFor(options.common);
  if (loaded.failure) return *loaded.failure;
  const ProgramLists lists = AskNodes<std::vector<control::ProgramInfo>>(
      loaded.topology.NodesOf(config::NodeRole::kPnode), options.common.timeout,
      [&](const config::Node&, control::ControlClient& client, absl::Duration timeout) {
        return client.ListPrograms(options.all, timeout);
      });
  Outcome outcome;
  outcome.err = AwayWords(lists);
  outcome.exit_code = outcome.err.empty() ? config::kExitOk : config::kExitUnavailable;
  outcome.out = options.common.json ? PsJson(lists).ToString() : RenderPs(lists, absl::Now());
  return outcome;
}

}  // namespace ashlar::cli
