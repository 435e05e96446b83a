#include "absl/strings/str_cat.h"
#include "cli/json.h"
#include "cli/verbs.h"
#include "common/config/exit_code.h"
#include "common/config/topology.h"

namespace ashlar::cli {

Outcome RunTopologyCheck(const Options& options) {
  const config::TopologyResult result = config::LoadTopology(options.target);
  Outcome outcome;
  outcome.exit_code = result.ok() ? config::kExitOk : config::kExitConfig;
  if (options.common.json) {
    Json faults = Json::Array();
    for (const config::Fault& fault : result.faults) {
      faults.Add(Json::Object()
                     .Set("line", fault.place.line)
                     .Set("column", fault.place.column)
                     .Set("path", fault.path)
                     .Set("what", fault.what)
                     .Set("hint", fault.hint));
    }
    outcome.out = Json::Object()
                      .Set("schema", "ashlar.topology-check/1")
                      .Set("file", options.target)
                      .Set("ok", result.ok())
                      .Set("faults", faults)
                      .ToString();
    return outcome;
  }
  if (result.ok()) {
    outcome.out = absl::StrCat(Printable(options.target), ": ok, cluster ", result.topology.cluster, ", ",
                               result.topology.nodes.size(), " nodes\n");
  } else {
    outcome.err = config::RenderFaults(result.faults);
  }
  return outcome;
}

}  // namespace ashlar::cli
