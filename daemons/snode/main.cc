// ashlar-snode: keeps the pages of programs on disk, in a replica log.
#include "common/service/notify.h"
#include "common/telemetry/log.h"
#include "daemons/snode/storage_node.h"

namespace {

int Run(ashlar::service::DaemonContext& context) {
  auto node = ashlar::snode::StorageNode::Start(context);
  if (!node.ok()) {
    ashlar::log::Error("snode: can't start why=\"{}\"", node.status());
    return ashlar::snode::StorageNode::ExitCodeFor(node.status());
  }
  ashlar::service::NotifyReady("keeping pages");
  const ashlar::service::StopCause cause = context.stop.Wait();
  ashlar::log::Info("snode: stopping why=\"{}\"", cause.why);
  ashlar::service::NotifyStopping(cause.why);
  return cause.exit_code;
}

}  // namespace

int main(int argc, char** argv) {
  return ashlar::service::DaemonMain(argc, argv,
                                     {.program = "ashlar-snode",
                                      .role = ashlar::config::NodeRole::kSnode,
                                      .summary = "keeps the pages of programs on disk, in a replica log"},
                                     Run);
}
