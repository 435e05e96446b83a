// ashlar-snode: keeps the pages of programs on disk, in a replica log.
#include "common/service/serve.h"
#include "daemons/snode/storage_node.h"

namespace {

int Run(ashlar::service::DaemonContext& context) {
  return ashlar::service::ServeUntilStopped(context, "keeping pages", ashlar::snode::StorageNode::Start(context), ashlar::snode::StorageNode::ExitCodeFor);
}

}  // namespace

int main(int argc, char** argv) {
  return ashlar::service::DaemonMain(argc, argv,
                                     {.program = "ashlar-snode",
                                      .role = ashlar::config::NodeRole::kSnode,
                                      .summary = "keeps the pages of programs on disk, in a replica log"},
                                     Run);
}
