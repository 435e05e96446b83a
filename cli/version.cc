#include "cli/json.h"
#include "cli/verbs.h"

namespace ashlar::cli {

Outcome RunVersion(const Options& options) {
  if (!options.common.json) return {.out = "ashlar " ASHLAR_VERSION "\n"};
  return {.out = Json::Object().Set("schema", "ashlar.version/1").Set("version", ASHLAR_VERSION).ToString()};
}

}  // namespace ashlar::cli
