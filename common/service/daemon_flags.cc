#include "common/service/daemon_flags.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

#include "absl/strings/str_cat.h"
#include "common/config/exit_code.h"
#include "common/telemetry/log.h"

namespace ashlar::service {
namespace {

std::string Footer(const DaemonDescription& description) {
  const std::string letter = description.program.substr(description.program.find('-') + 1, 1);
  return fmt::format(
      "Examples:\n"
      "  {0} --id {1}1                                    as the unit ashlar-{2}@{1}1 starts it\n"
      "  {0} --config lab.yaml --id {1}1 --state-dir /tmp/{1}1\n"
      "  {0} --check-config lab.yaml --id {1}1            every fault of the file, then exit\n"
      "Exit codes: 0 asked to stop, 64 usage, 65 the data needs a person, 69 something needed is away, 74 I/O error,\n"
      "75 runs already, 77 a right is missing, 78 config.",
      description.program, letter, config::NodeRoleName(description.role));
}

}  // namespace

ParsedFlags ParseDaemonFlags(int argc, const char* const* argv, const DaemonDescription& description) {
  ParsedFlags parsed;
  DaemonFlags& flags = parsed.flags;
  std::string level;
  std::string checked_file;
  CLI::App app(description.summary, description.program);
  app.set_version_flag("--version", description.program + " " ASHLAR_VERSION, "Print the version and exit");
  app.footer(Footer(description));
  app.add_option("--config", flags.config, "The cluster's topology, the same file on every node")->capture_default_str();
  app.add_option("--id", flags.id, "Which node of the topology this is");
  app.add_option("--state-dir", flags.state_dir,
                 "Where the node keeps what must outlive it; a relative log.path starts here (default: $STATE_DIRECTORY, "
                 "/var/lib/ashlar/ID, or ~/.local/state/ashlar/ID)");
  app.add_option("--log-level", level, "debug, info, warn or error (default: the topology's)");
  CLI::Option* check = app.add_option("--check-config", checked_file, "Only check FILE (default: --config), then exit")
                           ->expected(0, 1)
                           ->type_name("[FILE]");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app.exit(error);  // --help and --version end here too, with 0
    parsed.exit_code = code == 0 ? config::kExitOk : config::kExitUsage;
    return parsed;
  }
  flags.check_config = check->count() > 0;
  if (!checked_file.empty()) flags.config = checked_file;
  log::Level parsed_level{};
  if (!level.empty() && !log::ParseLevel(level, &parsed_level)) {
    fmt::print(stderr, "--log-level: \"{}\" is not one of debug, info, warn, error\n", level);
    parsed.exit_code = config::kExitUsage;
  } else if (flags.id.empty() && !flags.check_config) {
    fmt::print(stderr, "--id is missing: which node of {} is this?\n", flags.config);
    parsed.exit_code = config::kExitUsage;
  }
  if (!level.empty()) flags.log_level = parsed_level;
  return parsed;
}

absl::StatusOr<std::string> DefaultStateDirectory(std::string_view id) {
  const absl::string_view name(id.data(), id.size());
  if (const char* systemd = std::getenv("STATE_DIRECTORY"); systemd != nullptr && *systemd != '\0') return std::string(systemd);
  if (::geteuid() == 0) return absl::StrCat("/var/lib/ashlar/", name);
  if (const char* xdg = std::getenv("XDG_STATE_HOME"); xdg != nullptr && *xdg == '/') return absl::StrCat(xdg, "/ashlar/", name);
  if (const char* home = std::getenv("HOME"); home != nullptr && *home == '/') {
    return absl::StrCat(home, "/.local/state/ashlar/", name);
  }
  return absl::FailedPreconditionError("no place for state: give --state-dir, or set HOME");
}

}  // namespace ashlar::service
