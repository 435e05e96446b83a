// Three control servers without a data path behind them, and the topology file that names them.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "cli/options.h"
#include "common/control/control_server.h"

namespace ashlar::cli {

class FakeCluster {
 public:
  FakeCluster();
  ~FakeCluster();

  const std::string& topology_file() const { return topology_file_; }
  Options OptionsFor(Verb verb, std::string target = "") const;
  void Stop(const std::string& id) { servers_.erase(id); }
  void SetHealth(const std::string& id, control::Health health) { servers_.at(id)->SetHealth(health); }
  void BlockStatus();    // p1 does not answer GetStatus until Unblock
  void UnblockStatus();

 private:
  struct Gate;
  void Start(const std::string& id, control::ControlSources sources);

  std::string topology_file_;
  config::Topology topology_;
  std::shared_ptr<Gate> gate_;
  std::map<std::string, std::unique_ptr<control::ControlServer>> servers_;
};

// The statuses that FakeCluster serves; for goldens, too.
control::ProgramInfo FakeProgram();
StatList FakePnodeStats();

// Fails the calling test unless `text` is one JSON value by RFC 8259; tells where it is not.
bool IsJson(const std::string& text);

}  // namespace ashlar::cli
