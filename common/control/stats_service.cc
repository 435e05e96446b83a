#include "common/control/stats_service.h"

#include "absl/strings/str_cat.h"
#include "common/control/conversion.h"

namespace ashlar::control {

grpc::Status StatsService::GetStats(grpc::ServerContext* context, const v1::GetStatsRequest* request,
                                    v1::GetStatsResponse* response) {
  return Serve(*context, [&] {
    if (request->program_id() != 0) return OneProgram(SpaceId(request->program_id()), request->include_ended(), response);
    Everything(request->include_ended(), response);
    return absl::OkStatus();
  });
}

absl::Status StatsService::OneProgram(SpaceId wanted, bool include_ended, v1::GetStatsResponse* response) {
  if (state_.sources.program_stats) {
    for (const ProgramStats& program : state_.sources.program_stats(include_ended)) {
      if (program.program != wanted) continue;
      ToProto(program, response->add_programs());
      return absl::OkStatus();
    }
  }
  return WithReason(absl::NotFoundError(absl::StrCat("program_id: no program ", wanted.value(), " runs on ",
                                                     state_.identity.id, "; `ashlar ps` lists those that do")),
                    reason::kUnknownProgram, "program_id");
}

void StatsService::Everything(bool include_ended, v1::GetStatsResponse* response) {
  StatList node;
  for (const auto& collect : state_.sources.node_stats) collect(node);
  ToProto(node, response->mutable_node());
  if (!state_.sources.program_stats) return;
  for (const ProgramStats& program : state_.sources.program_stats(include_ended)) ToProto(program, response->add_programs());
}

}  // namespace ashlar::control
