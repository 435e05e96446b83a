// ashlar-pnode: runs programs whose memory lives on a memory node.
#include "common/service/notify.h"
#include "common/telemetry/log.h"
#include "daemons/pnode/processor_node.h"

namespace {

int Run(ashlar::service::DaemonContext& context) {
  auto node = ashlar::pnode::ProcessorNode::Start(context);
  if (!node.ok()) {
    ashlar::log::Error("pnode: can't start why=\"{}\"", node.status());
    return ashlar::service::ExitCodeOf(node.status());
  }
  ashlar::service::NotifyReady("serving page faults");
  const ashlar::service::StopCause cause = context.stop.Wait();
  ashlar::log::Info("pnode: stopping why=\"{}\"", cause.why);
  ashlar::service::NotifyStopping(cause.why);
  return cause.exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  return ashlar::service::DaemonMain(argc, argv,
                                     {.program = "ashlar-pnode",
                                      .role = ashlar::config::NodeRole::kPnode,
                                      .summary = "runs programs whose memory lives on a memory node"},
                                     Run);
}
