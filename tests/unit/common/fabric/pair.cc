#include "tests/unit/common/fabric/pair.h"

#include "common/fabric/shm/device.h"
#include "common/fabric/tcp/device.h"

namespace ashlar::fabric::testing {

std::vector<std::string> BackendNames() { return {"memory", "shm", "tcp"}; }

Backend MakeBackend(const std::string& name) {
  Backend backend;
  if (name == "tcp") {
    backend.device = OpenTcpDevice();
    backend.address = "127.0.0.1:0";
    backend.nobody = "127.0.0.1:1";
  } else if (name == "shm") {
    backend.device = OpenHostDevice();
    backend.address = "shm:";
    backend.nobody = "shm:nobody";
  } else {
    backend.network = std::make_unique<MemoryNetwork>();
    backend.device = backend.network->OpenDevice();
    backend.address = "server:0";
    backend.nobody = "nowhere";
  }
  return backend;
}

}  // namespace ashlar::fabric::testing
