#include "tests/unit/common/fabric/pair.h"

#include <cstdlib>
#include <stdexcept>

#include "common/fabric/chaos/device.h"
#include "common/fabric/shm/device.h"
#include "common/fabric/tcp/device.h"
#include "common/fabric/verbs/device.h"

namespace ashlar::fabric::testing {

std::string RdmaAddress() {
  const char* address = std::getenv("ASHLAR_TEST_RDMA_ADDRESS");
  return address == nullptr ? "" : address;
}

std::vector<std::string> BackendNames() {
  std::vector<std::string> names{"chaos", "memory", "shm", "tcp"};
  if (!RdmaAddress().empty()) names.insert(names.end(), {"verbs", "verbs_without_immediate"});
  return names;
}

Backend MakeBackend(const std::string& name) {
  Backend backend;
  if (name == "tcp") {
    backend.device = OpenTcpDevice();
    backend.address = "127.0.0.1:0";
    backend.nobody = "127.0.0.1:1";
  } else if (name == "chaos") {  // without a fault: it must be as if it were not there
    backend.plan = std::make_unique<chaos::FaultPlan>(1);
    backend.device = WrapInChaos(OpenTcpDevice(), *backend.plan);
    backend.address = "127.0.0.1:0";
    backend.nobody = "127.0.0.1:1";
  } else if (name == "shm") {
    backend.device = OpenHostDevice();
    backend.address = "shm:";
    backend.nobody = "shm:nobody";
  } else if (name.starts_with("verbs")) {
    backend.address = RdmaAddress() + ":0";
    backend.nobody = RdmaAddress() + ":1";
    auto device = OpenVerbsDevice({.address = backend.address, .native_imm = name == "verbs"});
    if (!device.ok()) throw std::runtime_error(device.status().ToString());
    backend.device = *std::move(device);
    backend.one_sided = true;
    backend.emulated = true;
    backend.checks_bounds = false;
  } else {
    backend.network = std::make_unique<MemoryNetwork>();
    backend.device = backend.network->OpenDevice();
    backend.address = "server:0";
    backend.nobody = "nowhere";
  }
  return backend;
}

}  // namespace ashlar::fabric::testing
