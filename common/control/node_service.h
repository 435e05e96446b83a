// ashlar.v1.Node. Only for common/control's own .cc files. Threads: thread-safe.
#pragma once

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/control/service_state.h"
#include "common/telemetry/log.h"
#include "proto/ashlar/v1/node.grpc.pb.h"

namespace ashlar::control {

class NodeService final : public v1::Node::Service {
 public:
  explicit NodeService(ServiceState& state) : state_(state) {}

  grpc::Status Describe(grpc::ServerContext* context, const v1::DescribeRequest* request,
                        v1::DescribeResponse* response) override;
  grpc::Status GetStatus(grpc::ServerContext* context, const v1::GetStatusRequest* request,
                         v1::GetStatusResponse* response) override;
  grpc::Status OpenLink(grpc::ServerContext* context, const v1::OpenLinkRequest* request,
                        v1::OpenLinkResponse* response) override;

 private:
  absl::Status IssueLink(const v1::OpenLinkRequest& request, v1::OpenLinkResponse* response);
  void LogRefusal(const grpc::ServerContext& context, const absl::Status& why) ABSL_LOCKS_EXCLUDED(log_mutex_);

  ServiceState& state_;
  absl::Mutex log_mutex_;  // a leaf
  log::RateLimit log_limit_ ABSL_GUARDED_BY(log_mutex_);
};

}  // namespace ashlar::control
