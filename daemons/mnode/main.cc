// ashlar-mnode: lends memory to programs and keeps their pages safe on a storage node.
#include "common/service/serve.h"
#include "daemons/mnode/memory_node.h"

namespace {

int Run(ashlar::service::DaemonContext& context) {
  return ashlar::service::ServeUntilStopped(context, "lending memory", ashlar::mnode::MemoryNode::Start(context));
}

}  // namespace

int main(int argc, char** argv) {
  return ashlar::service::DaemonMain(argc, argv,
                                     {.program = "ashlar-mnode",
                                      .role = ashlar::config::NodeRole::kMnode,
                                      .summary = "lends memory to programs and keeps their pages safe on a storage node"},
                                     Run);
}
