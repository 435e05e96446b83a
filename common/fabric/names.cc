#include "common/fabric/names.h"

namespace ashlar::fabric {

std::string_view Name(Op op) {
  switch (op) {
    case Op::kSend: return "send";
    case Op::kWrite: return "write";
    case Op::kWriteWithImm: return "write_with_imm";
    case Op::kRead: return "read";
    case Op::kRevoke: return "revoke";
    case Op::kReceive: return "receive";
    case Op::kReceiveImm: return "receive_imm";
  }
  return "unknown";
}

std::string_view Name(Status status) {
  switch (status) {
    case Status::kFlushed: return "flushed";
    case Status::kRemoteAccess: return "remote_access";
    case Status::kRemoteOperation: return "remote_operation";
    case Status::kLocalProtection: return "local_protection";
    case Status::kLocalLength: return "local_length";
    case Status::kRetryExceeded: return "retry_exceeded";
    case Status::kRnrExceeded: return "rnr_exceeded";
    case Status::kFatal: return "fatal";
  }
  return "unknown";
}

std::string_view Name(EndpointState state) {
  switch (state) {
    case EndpointState::kConnecting: return "connecting";
    case EndpointState::kReady: return "ready";
    case EndpointState::kError: return "error";
    case EndpointState::kDraining: return "draining";
    case EndpointState::kDead: return "dead";
  }
  return "unknown";
}

}  // namespace ashlar::fabric
