#include "tests/unit/common/fabric/pair.h"

namespace ashlar::fabric::testing {

std::vector<std::string> BackendNames() { return {"memory"}; }

Backend MakeBackend(const std::string&) {
  Backend backend;
  backend.network = std::make_unique<MemoryNetwork>();
  backend.device = backend.network->OpenDevice();
  backend.address = "server:0";
  return backend;
}

}  // namespace ashlar::fabric::testing
