// The enumerators of the contract in words, for labels, log lines and reasons.
#pragma once

#include <string_view>

#include "common/fabric/contract.h"

namespace ashlar::fabric {

std::string_view Name(Op op);                // "write_with_imm"
std::string_view Name(Status status);        // "remote_access"
std::string_view Name(EndpointState state);  // "ready"

}  // namespace ashlar::fabric
