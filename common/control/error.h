// The machine-readable part of a control-path error: a reason out of ashlar.v1.ErrorReason and the field of the request
// it is about. It travels as a google.rpc.ErrorInfo, in an absl::Status as a payload and over gRPC in the trailer
// `grpc-status-details-bin`.
#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace ashlar::control {

// The reasons of proto/ashlar/v1/error.proto, without the prefix.
namespace reason {
inline constexpr std::string_view kFieldOutOfBounds = "FIELD_OUT_OF_BOUNDS";
inline constexpr std::string_view kUnknownNode = "UNKNOWN_NODE";
inline constexpr std::string_view kWrongNode = "WRONG_NODE";
inline constexpr std::string_view kRoleMayNot = "ROLE_MAY_NOT";
inline constexpr std::string_view kNoDataPath = "NO_DATA_PATH";
inline constexpr std::string_view kUnknownProgram = "UNKNOWN_PROGRAM";
inline constexpr std::string_view kCallAbandoned = "CALL_ABANDONED";
}  // namespace reason

// `status` with a reason, and a field unless empty.
absl::Status WithReason(absl::Status status, std::string_view reason, std::string_view field = "");
// InvalidArgument "<field>: <what>".
absl::Status BadField(std::string_view field, std::string_view what);

// Empty: the status carries none.
std::string ReasonOf(const absl::Status& status);
std::string FieldOf(const absl::Status& status);

}  // namespace ashlar::control
