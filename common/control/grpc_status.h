// absl::Status ↔ grpc::Status, details included. Only for common/control's own .cc files.
#pragma once

#include <string_view>

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace ashlar::control {

grpc::Status ToGrpc(const absl::Status& status);
// `whom` ("127.0.0.1:7402") is put in front of the words. Details that do not parse are left out.
absl::Status FromGrpc(const grpc::Status& status, std::string_view whom);

}  // namespace ashlar::control
