#include "tests/unit/common/fabric/pair.h"

#include "common/fabric/tcp/device.h"

namespace ashlar::fabric::testing {

std::vector<std::string> BackendNames() { return {"memory", "tcp"}; }

Backend MakeBackend(const std::string& name) {
  Backend backend;
  if (name == "tcp") {
    backend.device = OpenTcpDevice();
    backend.address = "127.0.0.1:0";
  } else {
    backend.network = std::make_unique<MemoryNetwork>();
    backend.device = backend.network->OpenDevice();
    backend.address = "server:0";
  }
  return backend;
}

}  // namespace ashlar::fabric::testing
