// `ashlar space ls`, `recover` and `drain`: what they show, apart from asking for it. Pure.
#pragma once

#include <string>
#include <vector>

#include "cli/ask_nodes.h"
#include "cli/json.h"
#include "common/control/node_types.h"

namespace ashlar::cli {

using SpaceLists = std::vector<NodeAnswer<control::SpaceList>>;  // of pnodes and mnodes

std::string_view SpaceStateName(control::SpaceState state);
std::string RenderSpaces(const SpaceLists& lists);
Json SpacesJson(const SpaceLists& lists);

// A line per space that is on its way to a home. Empty: none.
std::string RenderRecovery(const SpaceLists& lists);
// Spaces that still need that node: those whose home it is, or that an mnode keeps there, or that are not whole elsewhere yet.
std::size_t SpacesOn(const SpaceLists& lists, const config::Node& node);

}  // namespace ashlar::cli
