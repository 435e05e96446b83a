#include "cli/verbs.h"
#include "daemons/pnode/injection/run_program.h"

namespace ashlar::cli {

Outcome RunRun(const Options& options) {
  const RunPlace place = FindRunPlace(options);
  if (place.failure) return *place.failure;
  const pnode::RunEnd end = pnode::RunProgram({.socket_path = place.socket_path,
                                               .limit_bytes = options.run.cache_bytes,
                                               .strace = options.run.strace,
                                               .name = options.run.name,
                                               .argv = options.run.command});
  Outcome outcome;
  if (options.run.strace && end.space != SpaceId()) outcome = StraceSummary(options, place.control_address, end.space);
  outcome.exit_code = end.exit_code;
  return outcome;
}

}  // namespace ashlar::cli
