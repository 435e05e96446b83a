#include "cli/verbs.h"
#include "daemons/pnode/injection/run_program.h"

namespace ashlar::cli {

Outcome RunRun(const Options& options) {
  const RunPlace place = FindRunPlace(options);
  if (place.failure) return *place.failure;
  return {.exit_code = pnode::RunProgram({.socket_path = place.socket_path,
                                          .limit_bytes = options.run.cache_bytes,
                                          .name = options.run.name,
                                          .argv = options.run.command})};
}

}  // namespace ashlar::cli
