// ashlar.v1.Spaces. Only for common/control's own .cc files. Threads: thread-safe.
#pragma once

#include "common/control/service_state.h"
#include "proto/ashlar/v1/spaces.grpc.pb.h"

namespace ashlar::control {

class SpacesService final : public v1::Spaces::Service {
 public:
  explicit SpacesService(ServiceState& state) : state_(state) {}

  grpc::Status ListSpaces(grpc::ServerContext* context, const v1::ListSpacesRequest* request, v1::ListSpacesResponse* response) override;
  grpc::Status Drain(grpc::ServerContext* context, const v1::DrainRequest* request, v1::DrainResponse* response) override;

 private:
  ServiceState& state_;
};

void ToProto(const SpaceList& from, v1::ListSpacesResponse* to);
absl::StatusOr<SpaceList> FromProto(const v1::ListSpacesResponse& from);

}  // namespace ashlar::control
