#include "cli/spaces.h"

#include <cstdio>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/table.h"
#include "cli/topology_lookup.h"
#include "cli/verbs.h"
#include "common/config/exit_code.h"
#include "common/config/units.h"

namespace ashlar::cli {
namespace {

constexpr absl::Duration kLookEvery = absl::Milliseconds(500);

std::string SpaceName(SpaceId space) { return absl::StrCat(absl::Hex(space.value(), absl::kZeroPad16)); }

// What the home says of each space.
std::map<SpaceId, const control::KeptSpace*> KeptBy(const SpaceLists& lists) {
  std::map<SpaceId, const control::KeptSpace*> kept;
  for (const auto& [node, answer] : lists) {
    if (!answer.ok()) continue;
    for (const control::KeptSpace& space : answer->kept) kept[space.space] = &space;
  }
  return kept;
}

SpaceLists AskSpaces(const config::Topology& topology, absl::Duration timeout) {
  std::vector<const config::Node*> nodes = topology.NodesOf(config::NodeRole::kPnode);
  for (const config::Node* node : topology.NodesOf(config::NodeRole::kMnode)) nodes.push_back(node);
  return AskNodes<control::SpaceList>(nodes, timeout, [](const config::Node&, control::ControlClient& client, absl::Duration each) { return client.ListSpaces(each); });
}

}  // namespace

std::string_view SpaceStateName(control::SpaceState state) {
  switch (state) {
    case control::SpaceState::kFencing: return "fencing";
    case control::SpaceState::kNoHome: return "no-home";
    case control::SpaceState::kOpening: return "opening";
    case control::SpaceState::kRefilling: return "refilling";
    case control::SpaceState::kServed: return "served";
  }
  return "";
}

std::string RenderSpaces(const SpaceLists& lists) {
  using enum Table::Align;
  Table table({kLeft, kLeft, kLeft, kLeft, kRight, kRight, kLeft, kRight, kRight, kLeft},
              {"SPACE", "PNODE", "HOME", "STATE", "EPOCH", "EXTENTS", "SNODE", "LIVE", "BEHIND", "REPLICA"});
  const auto kept = KeptBy(lists);
  for (const auto& [node, answer] : lists) {
    if (!answer.ok()) continue;
    for (const control::HomedSpace& space : answer->homed) {
      const auto keeper = kept.find(space.space);
      const control::KeptSpace* at = keeper == kept.end() ? nullptr : keeper->second;
      table.Row({SpaceName(space.space), node->id, space.home.empty() ? "-" : space.home, std::string(SpaceStateName(space.state)),
                 absl::StrCat(space.epoch.value()), absl::StrCat(space.extents), at == nullptr ? "-" : at->snode,
                 at == nullptr ? "-" : config::HumanSize(at->live_bytes), at == nullptr ? "-" : config::HumanSize(at->behind_bytes),
                 at == nullptr ? "-" : at->current ? "current" : "degraded"});
    }
  }
  return table.empty() ? "no spaces\n" : table.ToString();
}

Json SpacesJson(const SpaceLists& lists) {
  Json spaces = Json::Array(), away = Json::Array();
  const auto kept = KeptBy(lists);
  for (const auto& [node, answer] : lists) {
    if (!answer.ok()) {
      away.Add(Json::Object().Set("id", node->id).Set("error", std::string(answer.status().message())));
      continue;
    }
    for (const control::HomedSpace& space : answer->homed) {
      Json one = Json::Object()
                     .Set("space", SpaceName(space.space))
                     .Set("pnode", node->id)
                     .Set("home", space.home)
                     .Set("state", SpaceStateName(space.state))
                     .Set("epoch", space.epoch.value())
                     .Set("extents", space.extents)
                     .Set("extents_to_refill", space.extents_to_refill)
                     .Set("extents_refilled", space.extents_refilled)
                     .Set("since_left_ns", absl::ToInt64Nanoseconds(space.since_left));
      if (const auto keeper = kept.find(space.space); keeper != kept.end()) {
        one.Set("snode", keeper->second->snode)
            .Set("live_bytes", keeper->second->live_bytes)
            .Set("behind_bytes", keeper->second->behind_bytes)
            .Set("replica_current", keeper->second->current);
      }
      spaces.Add(one);
    }
  }
  return Json::Object().Set("schema", "ashlar.spaces/1").Set("spaces", spaces).Set("away", away);
}

std::string RenderRecovery(const SpaceLists& lists) {
  std::string lines;
  for (const auto& [node, answer] : lists) {
    if (!answer.ok()) continue;
    for (const control::HomedSpace& space : answer->homed) {
      if (space.state == control::SpaceState::kServed || space.since_left == absl::ZeroDuration()) continue;
      absl::StrAppend(&lines, SpaceName(space.space), " on ", node->id, ": ", std::string(SpaceStateName(space.state)),
                      space.home.empty() ? "" : absl::StrCat(" at ", space.home), ", ", space.extents_refilled, " of ",
                      space.extents_to_refill, " extents, ", config::HumanDuration(space.since_left), " since its memory node was left\n");
    }
  }
  return lines;
}

std::size_t SpacesOn(const SpaceLists& lists, const config::Node& node) {
  std::size_t count = 0;
  for (const auto& [from, answer] : lists) {
    if (!answer.ok()) continue;
    if (node.role == config::NodeRole::kMnode) {
      for (const control::HomedSpace& space : answer->homed)
        count += space.home == node.id || (space.state != control::SpaceState::kServed && space.since_left > absl::ZeroDuration());
    } else {
      for (const control::KeptSpace& space : answer->kept) count += space.snode == node.id || !space.current;
    }
  }
  return count;
}

Outcome RunSpaceLs(const Options& options) {
  LoadedTopology loaded = LoadTopologyFor(options.common);
  if (loaded.failure) return *loaded.failure;
  const SpaceLists lists = AskSpaces(loaded.topology, options.common.timeout);
  Outcome outcome;
  outcome.err = AwayWords(lists);
  outcome.exit_code = outcome.err.empty() ? config::kExitOk : config::kExitUnavailable;
  outcome.out = options.common.json ? SpacesJson(lists).ToString() : RenderSpaces(lists);
  return outcome;
}

Outcome RunRecover(const Options& options) {
  LoadedTopology loaded = LoadTopologyFor(options.common);
  if (loaded.failure) return *loaded.failure;
  for (;;) {
    const SpaceLists lists = AskSpaces(loaded.topology, options.common.timeout);
    const std::string lines = RenderRecovery(lists);
    if (!options.watch || lines.empty()) {
      Outcome outcome;
      outcome.out = options.common.json ? SpacesJson(lists).ToString() : lines.empty() ? "nothing is being recovered\n" : lines;
      outcome.exit_code = lines.empty() ? config::kExitOk : kExitBadState;
      return outcome;
    }
    std::fwrite(lines.data(), 1, lines.size(), stdout);  // as it goes on: nobody wants to wait for the whole of it
    std::fflush(stdout);
    absl::SleepFor(kLookEvery);
  }
}

// Tells those who use the node, then waits until none does.
Outcome RunDrain(const Options& options) {
  LoadedTopology loaded = LoadTopologyFor(options.common);
  if (loaded.failure) return *loaded.failure;
  const config::Node* node = loaded.topology.FindNode(options.target);
  if (node == nullptr) return UnknownNode(loaded.topology, options.target);
  if (node->role == config::NodeRole::kPnode)
    return {.exit_code = config::kExitUsage, .out = "", .err = absl::StrCat("ashlar: drain: ", node->id, " is a pnode; its programs run there until they end\n")};
  const auto users = loaded.topology.NodesOf(node->role == config::NodeRole::kMnode ? config::NodeRole::kPnode : config::NodeRole::kMnode);
  const auto told = AskNodes<bool>(users, options.common.timeout, [&](const config::Node&, control::ControlClient& client, absl::Duration timeout) -> absl::StatusOr<bool> {
    const absl::Status status = client.Drain(node->id, !options.undo, timeout);
    if (!status.ok()) return status;
    return true;
  });
  Outcome outcome;
  outcome.err = AwayWords(told);
  outcome.exit_code = outcome.err.empty() ? config::kExitOk : config::kExitUnavailable;
  if (options.undo || outcome.exit_code != config::kExitOk) {
    if (outcome.exit_code == config::kExitOk) outcome.out = absl::StrCat(node->id, " may be used again\n");
    return outcome;
  }
  absl::SleepFor(kLookEvery);  // an mnode's list is up to a quarter of a second old
  for (std::size_t before = 0;; absl::SleepFor(kLookEvery)) {
    const std::size_t left = SpacesOn(AskSpaces(loaded.topology, options.common.timeout), *node);
    if (left == 0) break;
    if (left != before && !options.common.json) {
      std::printf("%zu spaces still need %s\n", left, node->id.c_str());
      std::fflush(stdout);
    }
    before = left;
  }
  outcome.out = options.common.json ? Json::Object().Set("schema", "ashlar.drain/1").Set("node", node->id).Set("drained", true).ToString()
                                    : absl::StrCat(node->id, " is drained: no running program needs it\n");
  return outcome;
}

}  // namespace ashlar::cli
