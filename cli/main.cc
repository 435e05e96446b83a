// The `ashlar` command: parses, runs one verb, prints what it hands back.
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "cli/options.h"
#include "cli/verbs.h"

namespace {

using ashlar::cli::Options;
using ashlar::cli::Outcome;
using ashlar::cli::Verb;

Outcome Run(const Options& options) {
  switch (options.verb) {
    case Verb::kStatus:
      return ashlar::cli::RunStatus(options);
    case Verb::kPs:
      return ashlar::cli::RunPs(options);
    case Verb::kStats:
      return ashlar::cli::RunStats(options);
    case Verb::kStrace:
      return ashlar::cli::RunStrace(options);
    case Verb::kSpaceLs:
      return ashlar::cli::RunSpaceLs(options);
    case Verb::kRecover:
      return ashlar::cli::RunRecover(options);
    case Verb::kDrain:
      return ashlar::cli::RunDrain(options);
    case Verb::kTopologyCheck:
      return ashlar::cli::RunTopologyCheck(options);
    case Verb::kLogVerify:
      return ashlar::cli::RunLogVerify(options);
    case Verb::kLogInspect:
      return ashlar::cli::RunLogInspect(options);
    case Verb::kVersion:
      return ashlar::cli::RunVersion(options);
    case Verb::kRun:
      return ashlar::cli::RunRun(options);
    case Verb::kNone:
      break;
  }
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = ashlar::cli::ParseOptions(std::vector<std::string>(argv + 1, argv + argc), ::isatty(STDOUT_FILENO) != 0);
  const Outcome outcome = parsed.outcome ? *parsed.outcome : Run(parsed.options);
  std::fwrite(outcome.out.data(), 1, outcome.out.size(), stdout);
  std::fwrite(outcome.err.data(), 1, outcome.err.size(), stderr);
  return outcome.exit_code;
}
