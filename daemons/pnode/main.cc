// ashlar-pnode: runs programs whose memory lives on a memory node.
#include "common/service/serve.h"
#include "daemons/pnode/processor_node.h"

namespace {

int Run(ashlar::service::DaemonContext& context) {
  return ashlar::service::ServeUntilStopped(context, "serving page faults", ashlar::pnode::ProcessorNode::Start(context));
}

}  // namespace

int main(int argc, char** argv) {
  return ashlar::service::DaemonMain(argc, argv,
                                     {.program = "ashlar-pnode",
                                      .role = ashlar::config::NodeRole::kPnode,
                                      .summary = "runs programs whose memory lives on a memory node"},
                                     Run);
}
