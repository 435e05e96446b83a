// ashlar.v1.Programs. Only for common/control's own .cc files. Threads: thread-safe.
#pragma once

#include "common/control/service_state.h"
#include "proto/ashlar/v1/programs.grpc.pb.h"

namespace ashlar::control {

class ProgramsService final : public v1::Programs::Service {
 public:
  explicit ProgramsService(ServiceState& state) : state_(state) {}

  grpc::Status ListPrograms(grpc::ServerContext* context, const v1::ListProgramsRequest* request,
                            v1::ListProgramsResponse* response) override;

 private:
  ServiceState& state_;
};

}  // namespace ashlar::control
