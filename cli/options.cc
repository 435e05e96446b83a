#include "cli/options.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <map>
#include <sstream>

#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/exit_code.h"
#include "common/config/nearest.h"
#include "common/config/units.h"

namespace ashlar::cli {
namespace {

constexpr char kExamples[] =
    "Examples:\n"
    "  ashlar run --cache 64MiB -- sort big.txt\n"
    "  ashlar status                      is every node up; what is wrong and how to fix it\n"
    "  ashlar ps                          programs on remote memory\n"
    "  ashlar stats p1                    faults, pages, latencies of one node and its programs\n"
    "  ashlar stats --json word_count     of one program, for a script\n"
    "  ashlar strace word_count           its system calls by thread, live, at little cost\n"
    "  ashlar log verify /var/lib/ashlar/s1   is all there that a stopped storage node keeps\n"
    "  ashlar topology check lab.yaml     every fault of a topology file\n"
    "The topology is --topology FILE, else $ASHLAR_TOPOLOGY, ~/.config/ashlar/topology.yaml, /etc/ashlar/topology.yaml.\n"
    "Exit codes: 0 ok, 1 the asked-for state is bad, 64 usage, 69 a node is away, 78 config; `run`: the program's own.";

constexpr char kAlso[] = "\nAlso: --json, --topology FILE, --timeout TIME; see `ashlar --help`.";

// CLI11 parses into these.
struct Raw {
  Options options;
  std::string timeout = "2s";
  std::string cache;
  std::string watch;
  std::string wait = "1s";
};

struct Grammar {
  CLI::App app{"Watch and use an Ashlar cluster: unmodified programs on remote memory.", "ashlar"};
  CLI::App* status = nullptr;
  CLI::App* ps = nullptr;
  CLI::App* stats = nullptr;
  CLI::App* strace = nullptr;
  CLI::App* space = nullptr;
  CLI::App* space_ls = nullptr;
  CLI::App* recover = nullptr;
  CLI::App* drain = nullptr;
  CLI::App* topology = nullptr;
  CLI::App* log = nullptr;
  CLI::App* log_verify = nullptr;
  CLI::App* log_inspect = nullptr;
  CLI::App* topology_check = nullptr;
  CLI::App* version = nullptr;
  CLI::App* run = nullptr;
};

void Describe(Raw& raw, Grammar& grammar) {
  CLI::App& app = grammar.app;
  Options& options = raw.options;
  app.require_subcommand(1);
  app.footer(kExamples);
  app.set_version_flag("--version", "ashlar " ASHLAR_VERSION, "Print the version and exit");
  app.add_option("--topology", options.common.topology, "The cluster's topology file")->type_name("FILE");
  app.add_flag("--json", options.common.json, "One JSON object with a \"schema\", for programs");
  app.add_option("--timeout", raw.timeout, "status, ps, stats, strace, space, recover, drain: how long a node may take to answer: 500ms, 2s")->capture_default_str()->type_name("TIME");

  grammar.run = app.add_subcommand("run", "Start a program, unchanged, on remote memory: ashlar run [OPTIONS] -- PROGRAM ARGS…");
  grammar.run->add_option("--cache", raw.cache, "Local memory of all its processes together (default: the pnode chooses)")->type_name("SIZE");
  grammar.run->add_option("--on", options.run.on, "A pnode of this host (default: the only one that runs)")->type_name("ID");
  grammar.run->add_option("--name", options.run.name, "Shown in ps and stats (default: the program's file name)")->type_name("NAME");
  grammar.status = app.add_subcommand("status", "Is the cluster well: a line per node, a line per problem with its fix");
  grammar.status->add_option("NODE", options.target, "Only this node, and its links");
  grammar.ps = app.add_subcommand("ps", "Programs on remote memory");
  grammar.ps->add_flag("-a,--all", options.all, "Also those that ended");
  grammar.stats = app.add_subcommand("stats", "Counters and latencies of nodes and programs");
  grammar.stats->add_option("TARGET", options.target, "A node's id, or a program's name or pid, also of one that ended (default: all that runs)");
  grammar.stats->add_flag("-a,--all", options.all, "Also what is 0");
  grammar.run->add_flag("--strace", options.run.strace, "Count its system calls and those of its children; a table on stderr at the end");
  grammar.strace = app.add_subcommand("strace", "System calls of a program: counts, errors, times, remote misses; or run one: ashlar strace -- PROGRAM ARGS…");
  grammar.strace->add_option("PROGRAM", options.target, "A program's pid or name");
  grammar.strace->add_flag("--threads", options.strace.threads, "A table per thread, ended ones included");
  grammar.strace->add_flag("--compat", options.strace.compat, "Only the columns of strace -c");
  grammar.strace->add_option("--sort", options.strace.sort, "time, calls, errors, max or miss")
      ->transform(CLI::CheckedTransformer(std::map<std::string, StraceSort>{{"time", StraceSort::kTime}, {"calls", StraceSort::kCalls}, {"errors", StraceSort::kErrors},
                                                                             {"max", StraceSort::kMax}, {"miss", StraceSort::kMiss}})
                      .description(""))
      ->type_name("COLUMN");
  grammar.strace->add_option("--watch", raw.watch, "Again and again, every 1s or TIME (write --watch=TIME)")->expected(0, 1)->default_str("1s")->type_name("TIME");
  grammar.strace->add_option("--for", raw.wait, "If nobody counted it yet: show what it does in that time")->capture_default_str()->type_name("TIME");
  grammar.space = app.add_subcommand("space", "Where the pages of programs are kept");
  grammar.space->require_subcommand(1);
  grammar.space_ls = grammar.space->add_subcommand("ls", "A line per space: its home, its snode, how safe it is");
  grammar.recover = app.add_subcommand("recover", "What is being recovered after a lost or drained memory node");
  grammar.recover->add_flag("--watch", options.watch, "Again and again, until nothing is");
  grammar.drain = app.add_subcommand("drain", "Move everything off a memory or storage node while programs run, and wait for it");
  grammar.drain->add_option("NODE", options.target, "An mnode or snode")->required();
  grammar.drain->add_flag("--undo", options.undo, "It may be used again");
  grammar.topology = app.add_subcommand("topology", "Work on a topology file");
  grammar.topology->require_subcommand(1);
  grammar.topology_check = grammar.topology->add_subcommand("check", "Show every fault of FILE, change nothing");
  grammar.topology_check->add_option("FILE", options.target, "A topology file")->required();
  grammar.log = app.add_subcommand("log", "Look into the log of a storage node that is stopped");
  grammar.log->require_subcommand(1);
  grammar.log_verify = grammar.log->add_subcommand("verify", "Read and verify all of it, change nothing");
  grammar.log_verify->add_option("DIR", options.target, "Its log.path")->required();
  grammar.log_inspect = grammar.log->add_subcommand("inspect", "Print its batches");
  grammar.log_inspect->add_option("DIR", options.target, "Its log.path")->required();
  grammar.log_inspect->add_option("--segment", options.log.segment, "Only this one")->type_name("N");
  grammar.log_inspect->add_flag("--entries", options.log.entries, "Also what is in each batch");
  grammar.log_verify->footer("Example:\n  ashlar log verify /var/lib/ashlar/s1\nExit code 65 if a live page is lost, 75 if a daemon uses it.");
  grammar.version = app.add_subcommand("version", "Print the version");
  grammar.status->footer(std::string("Examples:\n  ashlar status\n  ashlar status m1 --json\nExit code 1 unless every node asked is ready and has no problem.") + kAlso);
  grammar.run->footer(
      "Examples:\n  ashlar run --cache 64MiB -- sort big.txt\n  ashlar run --on p1 --name nightly -- python3 job.py --fast\n"
      "It runs as you, with your terminal, environment, directory and signals. Exit code: the program's own, 128+n for a\n"
      "signal, 127 not found, 126 not executable, 125 if Ashlar failed.");
  grammar.ps->footer(std::string("Examples:\n  ashlar ps\n  ashlar ps -a --json\nLIMIT bounds RESIDENT + STAGED on the pnode; REMOTE lies on memory nodes.") + kAlso);
  grammar.stats->footer(std::string("Examples:\n  ashlar stats\n  ashlar stats m1\n  ashlar stats word_count --all\n  ashlar stats 4711 --json\n"
                                    "Of programs of one name: those that run; if none does, the last that ended (`ashlar ps -a` lists the others).") + kAlso);
  grammar.strace->footer(
      "Examples:\n  ashlar strace -- sort big.txt\n  ashlar strace word_count --threads\n  ashlar strace 4711 --watch=2s --sort calls\n"
      "Counts are exact, in every thread and child, from when counting began: with `ashlar run --strace` at the start, else now.\n"
      "% time is wall time inside calls. p50 and p99 come from a histogram: off by up to a factor of 2. restart: interrupted, to\n"
      "be restarted by the kernel (strace -c calls these errors). miss %: the part of the time that was waiting for remote memory.");
  grammar.topology->footer("Example:\n  ashlar topology check /etc/ashlar/topology.yaml");
  grammar.version->footer("Examples:\n  ashlar version\n  ashlar version --json");
  grammar.space_ls->footer("Examples:\n  ashlar space ls\n  ashlar space ls --json\nBEHIND is what the home holds and its snode does not have on disk yet.");
  grammar.recover->footer("Examples:\n  ashlar recover\n  ashlar recover --watch\nRecovery begins by itself. Exit code 1 while something is being recovered.");
  grammar.drain->footer("Examples:\n  ashlar drain m1\n  ashlar drain s2 --undo\nIt lasts until the node is drained for good or a node that was told so restarts.");
  grammar.topology_check->footer("Example:\n  ashlar topology check /etc/ashlar/topology.yaml\nExit code 78 if there is a fault.");
  for (CLI::App* verb : {grammar.run, grammar.status, grammar.ps, grammar.stats, grammar.strace, grammar.space, grammar.space_ls, grammar.recover, grammar.drain, grammar.topology, grammar.topology_check, grammar.log, grammar.log_verify, grammar.log_inspect, grammar.version}) {
    verb->fallthrough();  // --json and the like may stand behind the verb, too
  }
}

Verb VerbOf(const Grammar& grammar) {
  if (grammar.status->parsed()) return Verb::kStatus;
  if (grammar.ps->parsed()) return Verb::kPs;
  if (grammar.stats->parsed()) return Verb::kStats;
  if (grammar.strace->parsed()) return Verb::kStrace;
  if (grammar.space_ls->parsed()) return Verb::kSpaceLs;
  if (grammar.recover->parsed()) return Verb::kRecover;
  if (grammar.drain->parsed()) return Verb::kDrain;
  if (grammar.topology_check->parsed()) return Verb::kTopologyCheck;
  if (grammar.log_verify->parsed()) return Verb::kLogVerify;
  if (grammar.log_inspect->parsed()) return Verb::kLogInspect;
  if (grammar.version->parsed()) return Verb::kVersion;
  if (grammar.run->parsed()) return Verb::kRun;
  return Verb::kNone;
}

Outcome UsageError(const std::string& words) {
  return {.exit_code = config::kExitUsage, .out = "", .err = absl::StrCat("ashlar: ", words, "; see `ashlar --help`\n")};
}

// "stauts" → did you mean "status"? Also one level down.
std::optional<Outcome> UnknownVerb(const CLI::App& app) {
  const CLI::App* parsed = &app;
  while (!parsed->get_subcommands().empty()) parsed = parsed->get_subcommands().front();
  std::vector<std::string> names;
  for (const CLI::App* verb : parsed->get_subcommands([](const CLI::App*) { return true; })) names.push_back(verb->get_name());
  if (names.empty()) return std::nullopt;
  for (const std::string& word : app.remaining(/*recurse=*/true)) {
    if (absl::StartsWith(word, "-")) continue;
    const std::string_view nearest = config::NearestWord(word, {names.begin(), names.end()});
    const std::string hint = nearest.empty() ? absl::StrCat("; verbs: ", absl::StrJoin(names, ", "))
                                             : absl::StrCat("; did you mean \"", absl::string_view(nearest.data(), nearest.size()), "\"?");
    return UsageError(absl::StrCat("there is no verb \"", Printable(word), "\"", hint));
  }
  return std::nullopt;
}

Outcome OutcomeOf(const CLI::App& app, const CLI::ParseError& error) {
  std::ostringstream out;
  std::ostringstream err;
  const int code = app.exit(error, out, err);
  if (code == 0) return {.exit_code = 0, .out = out.str(), .err = ""};  // --help, --version
  if (std::optional<Outcome> unknown = UnknownVerb(app)) return *unknown;
  return UsageError(Printable(error.what()));
}

// The rest of `run`: what CLI11 can't check, and the program's own words, which it must not see.
std::optional<Outcome> FinishRun(const Raw& raw, std::vector<std::string> command, Options* options) {
  if (options->common.json) return UsageError("run: --json makes no sense here, stdout is the program's");
  if (command.empty()) return UsageError("run: no program; write `ashlar run [OPTIONS] -- PROGRAM ARGS`");
  options->run.command = std::move(command);
  if (raw.cache.empty()) return std::nullopt;
  const absl::StatusOr<std::uint64_t> cache = config::ParseSize(raw.cache);
  if (!cache.ok()) return UsageError(absl::StrCat("run: --cache: ", cache.status().message()));
  options->run.cache_bytes = *cache;
  return std::nullopt;
}

std::optional<Outcome> ParseTime(const std::string& text, std::string_view flag, absl::Duration least, absl::Duration* into) {
  const absl::StatusOr<absl::Duration> time = config::ParseDuration(text);
  const absl::string_view name(flag.data(), flag.size());
  if (!time.ok()) return UsageError(absl::StrCat(name, ": ", time.status().message()));
  if (*time < least || *time > absl::Hours(1)) return UsageError(absl::StrCat(name, ": must be between ", absl::FormatDuration(least), " and 1h"));
  *into = *time;
  return std::nullopt;
}

// `strace -- PROGRAM` is `run --strace -- PROGRAM`.
std::optional<Outcome> FinishStrace(const Raw& raw, bool watches, std::vector<std::string> command, Options* options) {
  if (watches) {
    if (std::optional<Outcome> bad = ParseTime(raw.watch.empty() ? "1s" : raw.watch, "strace: --watch", absl::Milliseconds(100), &options->strace.watch)) return bad;
    if (options->strace.threads) return UsageError("strace: --watch shows totals; leave out --threads");
  }
  if (std::optional<Outcome> bad = ParseTime(raw.wait, "strace: --for", absl::Milliseconds(1), &options->strace.wait)) return bad;
  if (command.empty() && options->target.empty()) return UsageError("strace: no program; write `ashlar strace PID|NAME` or `ashlar strace -- PROGRAM ARGS`");
  if (command.empty()) return std::nullopt;
  if (!options->target.empty() || watches || options->strace.threads) return UsageError("strace: with a program behind -- only --sort and --compat make sense");
  options->verb = Verb::kRun;
  options->run.strace = true;
  return FinishRun(raw, std::move(command), options);
}

std::optional<Outcome> FinishTimeout(const Grammar& grammar, const Raw& raw, Options* options) {
  const bool asks_nodes = options->verb != Verb::kRun && options->verb != Verb::kTopologyCheck && options->verb != Verb::kVersion;
  if (!asks_nodes && grammar.app.count("--timeout") != 0) return UsageError("--timeout: this verb asks no node, so there is no answer to wait for");
  const absl::StatusOr<absl::Duration> timeout = config::ParseDuration(raw.timeout);
  if (!timeout.ok()) return UsageError(absl::StrCat("--timeout: ", timeout.status().message()));
  if (*timeout <= absl::ZeroDuration() || *timeout > absl::Hours(1)) return UsageError("--timeout: must be between 1ms and 1h");
  options->common.timeout = *timeout;
  return std::nullopt;
}

// `arguments` up to "--", which `parse` takes, and what stands behind.
std::optional<Outcome> Parse(const std::vector<std::string>& arguments, Grammar& grammar, Raw& raw) {
  const auto dashes = std::find(arguments.begin(), arguments.end(), "--");
  std::vector<std::string> words(std::make_reverse_iterator(dashes), arguments.rend());  // last first, as CLI11 takes them
  try {
    grammar.app.parse(words);
  } catch (const CLI::ParseError& error) {
    return OutcomeOf(grammar.app, error);
  }
  raw.options.verb = VerbOf(grammar);
  if (std::optional<Outcome> bad = FinishTimeout(grammar, raw, &raw.options)) return bad;
  std::vector<std::string> command;
  if (dashes != arguments.end()) command.assign(dashes + 1, arguments.end());
  if (raw.options.verb == Verb::kRun) return FinishRun(raw, std::move(command), &raw.options);
  if (raw.options.verb == Verb::kStrace) return FinishStrace(raw, grammar.strace->count("--watch") != 0, std::move(command), &raw.options);
  if (!command.empty()) return UsageError("only `run` and `strace` take words behind --");
  return std::nullopt;
}

}  // namespace

ParsedOptions ParseOptions(const std::vector<std::string>& arguments, bool terminal) {
  Raw raw;
  Grammar grammar;
  Describe(raw, grammar);
  ParsedOptions parsed;
  parsed.outcome = Parse(arguments, grammar, raw);
  if (parsed.outcome && parsed.outcome->exit_code != 0 && (grammar.run->parsed() || raw.options.verb == Verb::kRun)) parsed.outcome->exit_code = kExitRunFailed;
  parsed.options = raw.options;
  const char* no_color = std::getenv("NO_COLOR");
  parsed.options.common.style.color = terminal && (no_color == nullptr || *no_color == '\0');
  return parsed;
}

}  // namespace ashlar::cli
