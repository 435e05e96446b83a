// Our own values of syscall_types.h ↔ proto/ashlar/v1/supervisor.proto. Only for common/control's own .cc files.
#pragma once

#include "absl/status/statusor.h"
#include "common/control/syscall_types.h"
#include "proto/ashlar/v1/supervisor.pb.h"

namespace ashlar::control {

void ToProto(const SyscallStats& from, v1::SyscallStats* to);
absl::StatusOr<SyscallStats> FromProto(const v1::SyscallStats& from);  // InvalidArgument: more than 32 buckets

void ToProto(const SyscallReport& from, v1::SyscallReport* to);
absl::StatusOr<SyscallReport> FromProto(const v1::SyscallReport& from);

void ToProto(const ThreadStats& from, v1::ThreadStats* to);
absl::StatusOr<ThreadStats> FromProto(const v1::ThreadStats& from);

}  // namespace ashlar::control
