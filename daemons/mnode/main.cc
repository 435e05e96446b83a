// ashlar-mnode: lends memory to programs and keeps their pages safe on a storage node.
#include "common/service/notify.h"
#include "common/telemetry/log.h"
#include "daemons/mnode/memory_node.h"

namespace {

int Run(ashlar::service::DaemonContext& context) {
  auto node = ashlar::mnode::MemoryNode::Start(context);
  if (!node.ok()) {
    ashlar::log::Error("mnode: can't start why=\"{}\"", node.status());
    return ashlar::service::ExitCodeOf(node.status());
  }
  ashlar::service::NotifyReady("lending memory");
  const ashlar::service::StopCause cause = context.stop.Wait();
  ashlar::log::Info("mnode: stopping why=\"{}\"", cause.why);
  ashlar::service::NotifyStopping(cause.why);
  return cause.exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  return ashlar::service::DaemonMain(argc, argv,
                                     {.program = "ashlar-mnode",
                                      .role = ashlar::config::NodeRole::kMnode,
                                      .summary = "lends memory to programs and keeps their pages safe on a storage node"},
                                     Run);
}
