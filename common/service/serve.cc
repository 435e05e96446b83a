#include "common/service/serve.h"

#include "common/service/notify.h"
#include "common/telemetry/log.h"

namespace ashlar::service {

int RefuseStart(const absl::Status& why, int exit_code) {
  log::Error("service: can't start exit={} why=\"{}\"", exit_code, why);
  NotifyStatus(why.ToString());
  return exit_code;
}

int WaitForStop(DaemonContext& context, std::string_view ready) {
  NotifyReady(ready);
  const StopCause cause = context.stop.Wait();
  log::Info("service: stopping why=\"{}\"", cause.why);
  NotifyStopping(cause.why);
  return cause.exit_code;
}

}  // namespace ashlar::service
