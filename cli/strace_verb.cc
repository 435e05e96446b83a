// `ashlar strace PID|NAME`: finds the program, begins to count if nobody does yet, asks and shows.
#include <unistd.h>

#include <cstdio>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/ask_nodes.h"
#include "cli/strace.h"
#include "cli/topology_lookup.h"
#include "cli/verbs.h"
#include "common/config/exit_code.h"

namespace ashlar::cli {
namespace {

// How long a trace that this command began goes on after the last question: counting costs every program of that host.
constexpr absl::Duration kLease = absl::Minutes(1);

struct Found {
  const config::Node* node = nullptr;
  control::ProgramInfo program;
};

bool Matches(const control::ProgramInfo& program, const std::string& target) {
  return target == program.name || target == absl::StrCat(program.pid) || target == absl::StrCat(absl::Hex(program.program.value(), absl::kZeroPad16));
}

// Of several the one that runs, else the one that was started last.
std::optional<Found> Find(const std::vector<NodeAnswer<std::vector<control::ProgramInfo>>>& lists, const std::string& target) {
  std::optional<Found> best;
  for (const auto& [node, answer] : lists) {
    if (!answer.ok()) continue;
    for (const control::ProgramInfo& program : *answer) {
      if (!Matches(program, target)) continue;
      const auto rank = [](const control::ProgramInfo& one) { return std::pair(one.state == control::ProgramState::kRunning, one.started); };
      if (!best || rank(program) > rank(best->program)) best = Found{node, program};
    }
  }
  return best;
}

Outcome Failed(const config::Node& node, const absl::Status& why) {
  Outcome outcome{.exit_code = kExitBadState, .err = absl::StrCat("ashlar: strace: ", why.message(), "\n")};
  if (absl::IsUnavailable(why) || absl::IsDeadlineExceeded(why)) outcome = {.exit_code = config::kExitUnavailable, .err = AwayLine(node, why)};
  return outcome;
}

// Prints as it goes, since it lasts: on a terminal each report in the place of the one before.
Outcome Watch(const Options& options, control::ControlClient& client, const Found& found) {
  const bool terminal = ::isatty(STDOUT_FILENO) != 0;
  std::optional<control::SyscallReport> before;
  const absl::Status status = client.WatchSyscalls(found.program.program, options.strace.watch, [&](const control::SyscallReport& report) {
    std::string out = options.common.json ? SyscallsJson(report).ToString() : RenderSyscalls(report, options.strace, before ? &*before : nullptr);
    if (!options.common.json) out = terminal ? absl::StrCat("\033[H\033[J", out) : absl::StrCat(out, "\n");
    before = report;
    return std::fwrite(out.data(), 1, out.size(), stdout) == out.size() && std::fflush(stdout) == 0;
  });
  return status.ok() ? Outcome{} : Failed(*found.node, status);
}

Outcome Show(const Options& options, control::ControlClient& client, const Found& found) {
  const absl::StatusOr<control::SyscallReport> report = client.GetSyscalls(found.program.program, options.common.timeout);
  if (!report.ok()) return Failed(*found.node, report.status());
  if (!options.strace.threads) {
    return {.out = options.common.json ? SyscallsJson(*report).ToString() : RenderSyscalls(*report, options.strace)};
  }
  const absl::StatusOr<control::ThreadReport> threads = client.ListThreads(found.program.program, options.common.timeout);
  if (!threads.ok()) return Failed(*found.node, threads.status());
  return {.out = options.common.json ? ThreadsJson(*report, *threads).ToString() : RenderThreads(*threads, options.strace)};
}

}  // namespace

Outcome RunStrace(const Options& options) {
  LoadedTopology loaded = LoadTopologyFor(options.common);
  if (loaded.failure) return *loaded.failure;
  const auto lists = AskNodes<std::vector<control::ProgramInfo>>(
      loaded.topology.NodesOf(config::NodeRole::kPnode), options.common.timeout,
      [](const config::Node&, control::ControlClient& client, absl::Duration timeout) { return client.ListPrograms(/*include_ended=*/true, timeout); });
  const std::optional<Found> found = Find(lists, options.target);
  if (!found) {
    Outcome outcome{.exit_code = config::kExitUsage, .err = AwayWords(lists)};
    if (!outcome.err.empty()) outcome.exit_code = config::kExitUnavailable;
    absl::StrAppend(&outcome.err, "ashlar: strace: no program \"", Printable(options.target), "\" on any pnode; `ashlar ps -a` lists them\n");
    return outcome;
  }
  const auto client = control::ControlClient::Create(found->node->control.ToString());
  std::string words;
  if (found->program.state == control::ProgramState::kRunning) {
    const absl::StatusOr<bool> traced = client->StartTrace(found->program.program, kLease, options.common.timeout);
    if (!traced.ok() && !absl::IsNotFound(traced.status())) return Failed(*found->node, traced.status());
    if (traced.ok() && !*traced) {
      words = absl::StrCat("counting from now on, for ", absl::FormatDuration(kLease), " after the last question; `ashlar run --strace` counts from the start\n");
      if (options.strace.watch == absl::ZeroDuration()) absl::SleepFor(options.strace.wait);
    }
  }
  Outcome outcome = options.strace.watch != absl::ZeroDuration() ? Watch(options, *client, *found) : Show(options, *client, *found);
  outcome.err = words + outcome.err;
  return outcome;
}

// The program has ended; children of it may go on, and a report may be a moment behind.
Outcome StraceSummary(const Options& options, const std::string& control_address, SpaceId program) {
  constexpr absl::Duration kPatience = absl::Seconds(1);
  const auto client = control::ControlClient::Create(control_address);
  const absl::Time deadline = absl::Now() + kPatience;
  for (;;) {
    const absl::StatusOr<control::SyscallReport> report = client->GetSyscalls(program, options.common.timeout);
    if (!report.ok()) return {.err = absl::StrCat("ashlar: no system calls to show: ", report.status().message(), "\n")};
    if (report->final || absl::Now() > deadline) return {.err = RenderSyscalls(*report, options.strace)};
    absl::SleepFor(absl::Milliseconds(2));
  }
}

}  // namespace ashlar::cli
