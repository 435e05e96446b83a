// Any bytes as a topology: an answer with or without faults, never a crash, and what passes is what it claims to be.
//
//   build/fuzz/tests/fuzz/fuzz_config -max_total_time=60 -max_len=4096 -dict=tests/fuzz/config/yaml.dict \
//       NEW_CORPUS tests/fuzz/config/corpus configs
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/check.h"
#include "common/config/topology.h"
#include "common/config/units.h"
#include "common/config/utf8.h"

namespace {

using ashlar::config::Fault;
using ashlar::config::Node;
using ashlar::config::TopologyResult;

// What a daemon relies on once a topology is ok.
void CheckAccepted(const TopologyResult& result) {
  ASHLAR_CHECK(result.topology.version == 1 && !result.topology.cluster.empty() && !result.topology.nodes.empty());
  for (const Node& node : result.topology.nodes) {
    ASHLAR_CHECK(result.topology.FindNode(node.id) == &node, "id={}", node.id);
    ASHLAR_CHECK(result.topology.FindNode(node.node_id) == &node, "id={}", node.id);
    ASHLAR_CHECK(node.control.port != 0 && !node.fabric.empty() && !node.host.empty(), "id={}", node.id);
    ASHLAR_CHECK((node.cache_bytes != 0) == (node.role == ashlar::config::NodeRole::kPnode));
    ASHLAR_CHECK((node.pool_bytes != 0) == (node.role == ashlar::config::NodeRole::kMnode));
    ASHLAR_CHECK((node.log.capacity_bytes != 0) == (node.role == ashlar::config::NodeRole::kSnode));
  }
}

void CheckFault(const Fault& fault) {
  ASHLAR_CHECK(!fault.what.empty());
  ASHLAR_CHECK(fault.place.line >= 0 && fault.place.width >= 1);
  ASHLAR_CHECK(fault.place.line == 0 || fault.place.column >= fault.place.excerpt_column);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const TopologyResult result = ashlar::config::ParseTopology(text, "fuzz.yaml");
  if (result.ok()) CheckAccepted(result);
  for (std::size_t i = 0; i < result.faults.size(); ++i) {
    CheckFault(result.faults[i]);
    const int line = result.faults[i].place.line;
    ASHLAR_CHECK(i == 0 || line == 0 || result.faults[i - 1].place.line <= line, "not sorted at {}", i);
  }
  // Nothing of the file may drive a terminal.
  const std::string rendered = ashlar::config::RenderFaults(result.faults);
  for (std::string_view rest = rendered; !rest.empty();) {
    const ashlar::config::Character character = ashlar::config::FirstCharacter(rest);
    ASHLAR_CHECK(character.length > 0, "not UTF-8 at {}", rendered.size() - rest.size());
    ASHLAR_CHECK(character.code_point == '\n' || !ashlar::config::IsControl(character.code_point));
    rest.remove_prefix(character.length);
  }

  ashlar::config::ParseSize(text).status().IgnoreError();
  ashlar::config::ParseDuration(text).status().IgnoreError();
  ashlar::config::ParseAddress(text).status().IgnoreError();
  return 0;
}
