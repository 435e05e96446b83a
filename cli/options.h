// What the command line says, parsed; and what a verb hands back. Threads: values.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "cli/table.h"

namespace ashlar::cli {

// How a verb ended: data for stdout, words for stderr.
struct Outcome {
  int exit_code = 0;
  std::string out;
  std::string err;
};

// An asked-for state is bad: a node is away or has a problem.
inline constexpr int kExitBadState = 1;
// `run` ended for a reason of ours: never mistaken for the program's own code (usage included).
inline constexpr int kExitRunFailed = 125;

struct CommonOptions {
  std::string topology;  // --topology; empty: the places of topology_lookup.h
  bool json = false;
  absl::Duration timeout = absl::Seconds(2);  // per question to a node; all nodes are asked at once
  Style style;
};

enum class Verb { kNone, kStatus, kPs, kStats, kStrace, kSpaceLs, kRecover, kDrain, kTopologyCheck, kLogVerify, kLogInspect, kVersion, kRun };

enum class StraceSort { kTime, kCalls, kErrors, kMax, kMiss };
struct StraceOptions {
  StraceSort sort = StraceSort::kTime;
  bool threads = false;
  bool compat = false;    // only strace's own columns
  absl::Duration watch;   // between two reports; zero: one report
  absl::Duration wait = absl::Seconds(1);  // counted for so long first, if nobody counted yet
};

struct Options {
  Verb verb = Verb::kNone;
  CommonOptions common;
  std::string target;  // status: a node; stats: a node, a pid or a program's name; strace: a program; drain: a node; topology check: a file; log: a directory
  bool watch = false;  // recover: until nothing is being recovered
  bool undo = false;   // drain: the node may be used again
  bool all = false;    // ps: also the ended ones; stats: also what is 0
  StraceOptions strace;  // of `strace`, and of the summary of `run --strace`
  struct {
    std::optional<std::uint32_t> segment;  // inspect: only this one
    bool entries = false;                  // and what is in each batch
  } log;
  struct {
    std::string on;                // a pnode of this host; empty: the only one
    std::uint64_t cache_bytes = 0;  // 0: the pnode chooses
    std::string name;
    bool strace = false;            // count its system calls, say them at the end
    std::vector<std::string> command;  // at least the program
  } run;
};

// Either options, or how to end at once (--help, --version, a mistake). `terminal`: stdout is one.
struct ParsedOptions {
  Options options;
  std::optional<Outcome> outcome;
};
ParsedOptions ParseOptions(const std::vector<std::string>& arguments, bool terminal);

}  // namespace ashlar::cli
