#include "common/control/grpc_log.h"

#include <mutex>

#include <grpc/support/log.h>

#include "common/telemetry/log.h"

namespace ashlar::control {

void RouteGrpcLogOnce() {
  static std::once_flag once;
  std::call_once(once, [] {
    ::gpr_set_log_function([](gpr_log_func_args* line) { log::Debug("grpc: {} at={}:{}", line->message, line->file, line->line); });
  });
}

}  // namespace ashlar::control
