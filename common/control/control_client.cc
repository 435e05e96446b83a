#include "common/control/control_client.h"

#include <grpcpp/client_context.h>

#include "common/base/status.h"
#include "common/control/channel.h"
#include "common/control/conversion.h"
#include "common/control/grpc_status.h"
#include "common/control/spaces_service.h"
#include "common/control/syscall_conversion.h"
#include "proto/ashlar/v1/node.grpc.pb.h"
#include "proto/ashlar/v1/programs.grpc.pb.h"
#include "proto/ashlar/v1/stats.grpc.pb.h"
#include "proto/ashlar/v1/supervisor.grpc.pb.h"

namespace ashlar::control {
namespace {

class GrpcControlClient final : public ControlClient {
 public:
  explicit GrpcControlClient(std::string_view address)
      : address_(address),
        channel_(OpenChannel(address_)),
        node_(v1::Node::NewStub(channel_)),
        stats_(v1::Stats::NewStub(channel_)),
        programs_(v1::Programs::NewStub(channel_)),
        spaces_(v1::Spaces::NewStub(channel_)),
        supervisor_(v1::Supervisor::NewStub(channel_)) {}

  absl::StatusOr<NodeIdentity> Describe(absl::Duration timeout) override {
    v1::DescribeResponse response;
    ASHLAR_RETURN_IF_ERROR(Call(*node_, &v1::Node::Stub::Describe, v1::DescribeRequest(), timeout, &response));
    return Checked(FromProto(response));
  }

  absl::StatusOr<NodeStatus> GetStatus(absl::Duration timeout) override {
    v1::GetStatusResponse response;
    ASHLAR_RETURN_IF_ERROR(Call(*node_, &v1::Node::Stub::GetStatus, v1::GetStatusRequest(), timeout, &response));
    return Checked(FromProto(response));
  }

  absl::StatusOr<NodeStats> GetStats(SpaceId program, bool include_ended, absl::Duration timeout) override {
    v1::GetStatsRequest request;
    request.set_program_id(program.value());
    request.set_include_ended(include_ended);
    v1::GetStatsResponse response;
    ASHLAR_RETURN_IF_ERROR(Call(*stats_, &v1::Stats::Stub::GetStats, request, timeout, &response));
    NodeStats stats;
    ASHLAR_ASSIGN_OR_RETURN(stats.node, Checked(FromProto(response.node())));
    for (const v1::ProgramStats& one : response.programs()) {
      ASHLAR_ASSIGN_OR_RETURN(ProgramStats added, Checked(FromProto(one)));
      stats.programs.push_back(std::move(added));
    }
    return stats;
  }

  absl::StatusOr<std::vector<ProgramInfo>> ListPrograms(bool include_ended, absl::Duration timeout) override {
    v1::ListProgramsRequest request;
    request.set_include_ended(include_ended);
    v1::ListProgramsResponse response;
    ASHLAR_RETURN_IF_ERROR(Call(*programs_, &v1::Programs::Stub::ListPrograms, request, timeout, &response));
    std::vector<ProgramInfo> programs;
    for (const v1::ProgramInfo& one : response.programs()) {
      ASHLAR_ASSIGN_OR_RETURN(ProgramInfo added, Checked(FromProto(one)));
      programs.push_back(std::move(added));
    }
    return programs;
  }

  absl::StatusOr<bool> StartTrace(SpaceId program, absl::Duration lease, absl::Duration timeout) override {
    v1::StartTraceRequest request;
    request.set_program_id(program.value());
    if (lease != absl::InfiniteDuration()) request.set_lease_ns(static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(lease)));
    v1::StartTraceResponse response;
    ASHLAR_RETURN_IF_ERROR(Call(*supervisor_, &v1::Supervisor::Stub::StartTrace, request, timeout, &response));
    return response.already_traced();
  }

  absl::Status StopTrace(SpaceId program, absl::Duration timeout) override {
    v1::StopTraceRequest request;
    request.set_program_id(program.value());
    v1::StopTraceResponse response;
    return Call(*supervisor_, &v1::Supervisor::Stub::StopTrace, request, timeout, &response);
  }

  absl::StatusOr<SyscallReport> GetSyscalls(SpaceId program, absl::Duration timeout) override {
    v1::GetSyscallsRequest request;
    request.set_program_id(program.value());
    v1::SyscallReport response;
    ASHLAR_RETURN_IF_ERROR(Call(*supervisor_, &v1::Supervisor::Stub::GetSyscalls, request, timeout, &response));
    return Checked(FromProto(response));
  }

  absl::Status WatchSyscalls(SpaceId program, absl::Duration interval, const std::function<bool(const SyscallReport&)>& show) override {
    v1::WatchSyscallsRequest request;
    request.set_program_id(program.value());
    request.set_interval_ns(static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(interval)));
    grpc::ClientContext context;  // lasts until somebody ends it: keep-alive notices a node that is gone
    const auto reader = supervisor_->WatchSyscalls(&context, request);
    absl::Status status;
    bool left = false;
    for (v1::SyscallReport message; reader->Read(&message);) {
      absl::StatusOr<SyscallReport> report = Checked(FromProto(message));
      status = report.status();
      left = !report.ok() || !show(*report);
      if (left) context.TryCancel();
      if (left) break;
    }
    const grpc::Status ended = reader->Finish();
    return left ? status : FromGrpc(ended, address_);
  }

  absl::StatusOr<ThreadReport> ListThreads(SpaceId program, absl::Duration timeout) override {
    v1::ListThreadsRequest request;
    request.set_program_id(program.value());
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    const auto reader = supervisor_->ListThreads(&context, request);
    ThreadReport report;
    absl::Status status;
    for (v1::ThreadList message; reader->Read(&message);) {
      report.ended_without_a_row = message.ended_without_a_row();
      for (const v1::ThreadStats& thread : message.threads()) {
        absl::StatusOr<ThreadStats> added = Checked(FromProto(thread));
        if (added.ok()) report.threads.push_back(*std::move(added));
        else status = added.status();
      }
    }
    const absl::Status ended = FromGrpc(reader->Finish(), address_);
    if (!ended.ok()) return ended;
    if (!status.ok()) return status;
    return report;
  }

  absl::StatusOr<SpaceList> ListSpaces(absl::Duration timeout) override {
    v1::ListSpacesResponse response;
    ASHLAR_RETURN_IF_ERROR(Call(*spaces_, &v1::Spaces::Stub::ListSpaces, v1::ListSpacesRequest(), timeout, &response));
    return Checked(FromProto(response));
  }

  absl::Status Drain(std::string_view node, bool drained, absl::Duration timeout) override {
    v1::DrainRequest request;
    request.set_node(std::string(node));
    request.set_drained(drained);
    v1::DrainResponse response;
    return Call(*spaces_, &v1::Spaces::Stub::Drain, request, timeout, &response);
  }

  absl::StatusOr<fit::LinkGrant> OpenLink(const LinkRequest& link, absl::Duration timeout) override {
    v1::OpenLinkRequest request;
    ToProto(link, &request);
    v1::OpenLinkResponse response;
    ASHLAR_RETURN_IF_ERROR(Call(*node_, &v1::Node::Stub::OpenLink, request, timeout, &response));
    return Checked(FromProto(response, link.server_node));
  }

 private:
  template <typename Stub, typename Method, typename Request, typename Response>
  absl::Status Call(Stub& stub, Method method, const Request& request, absl::Duration timeout, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    return FromGrpc((stub.*method)(&context, request, response), address_);
  }

  // An answer we can't read is the peer's doing, not the caller's: it says who sent it.
  template <typename T>
  absl::StatusOr<T> Checked(absl::StatusOr<T> answer) {
    if (answer.ok()) return answer;
    return Annotate(std::move(answer).status(), address_ + " answered what this version can't read");
  }

  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Node::Stub> node_;
  std::unique_ptr<v1::Stats::Stub> stats_;
  std::unique_ptr<v1::Programs::Stub> programs_;
  std::unique_ptr<v1::Spaces::Stub> spaces_;
  std::unique_ptr<v1::Supervisor::Stub> supervisor_;
};

}  // namespace

std::unique_ptr<ControlClient> ControlClient::Create(std::string_view address) {
  return std::make_unique<GrpcControlClient>(address);
}

}  // namespace ashlar::control
