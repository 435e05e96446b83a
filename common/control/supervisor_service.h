// ashlar.v1.Supervisor. Only for common/control's own .cc files. Threads: thread-safe.
#pragma once

#include <atomic>

#include "common/control/service_state.h"
#include "proto/ashlar/v1/supervisor.grpc.pb.h"

namespace ashlar::control {

class SupervisorService final : public v1::Supervisor::Service {
 public:
  static constexpr int kMaxWatchers = 4;  // each takes one of the server's few threads

  explicit SupervisorService(ServiceState& state) : state_(state) {}

  grpc::Status StartTrace(grpc::ServerContext* context, const v1::StartTraceRequest* request, v1::StartTraceResponse* response) override;
  grpc::Status StopTrace(grpc::ServerContext* context, const v1::StopTraceRequest* request, v1::StopTraceResponse* response) override;
  grpc::Status GetSyscalls(grpc::ServerContext* context, const v1::GetSyscallsRequest* request, v1::SyscallReport* response) override;
  grpc::Status WatchSyscalls(grpc::ServerContext* context, const v1::WatchSyscallsRequest* request, grpc::ServerWriter<v1::SyscallReport>* writer) override;
  grpc::Status ListThreads(grpc::ServerContext* context, const v1::ListThreadsRequest* request, grpc::ServerWriter<v1::ThreadList>* writer) override;

 private:
  absl::Status Watch(const grpc::ServerContext& context, const v1::WatchSyscallsRequest& request, grpc::ServerWriter<v1::SyscallReport>& writer);

  ServiceState& state_;
  std::atomic<int> watchers_{0};
};

}  // namespace ashlar::control
