#include "common/control/programs_service.h"

#include "common/control/conversion.h"

namespace ashlar::control {

grpc::Status ProgramsService::ListPrograms(grpc::ServerContext* context, const v1::ListProgramsRequest* request,
                                           v1::ListProgramsResponse* response) {
  return Serve(*context, [&] {
    for (const ProgramInfo& program : state_.sources.programs(request->include_ended())) {
      ToProto(program, response->add_programs());
    }
    return absl::OkStatus();
  });
}

}  // namespace ashlar::control
