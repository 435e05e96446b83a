// ashlar.v1.Stats. Only for common/control's own .cc files. Threads: thread-safe.
#pragma once

#include "common/control/service_state.h"
#include "proto/ashlar/v1/stats.grpc.pb.h"

namespace ashlar::control {

class StatsService final : public v1::Stats::Service {
 public:
  explicit StatsService(ServiceState& state) : state_(state) {}

  grpc::Status GetStats(grpc::ServerContext* context, const v1::GetStatsRequest* request,
                        v1::GetStatsResponse* response) override;

 private:
  absl::Status OneProgram(SpaceId wanted, bool include_ended, v1::GetStatsResponse* response);
  void Everything(bool include_ended, v1::GetStatsResponse* response);

  ServiceState& state_;
};

}  // namespace ashlar::control
