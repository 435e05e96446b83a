#include "common/control/supervisor_service.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/status.h"
#include "common/control/syscall_conversion.h"

namespace ashlar::control {
namespace {

constexpr absl::Duration kMinInterval = absl::Milliseconds(100);
constexpr absl::Duration kMaxInterval = absl::Hours(1);
constexpr absl::Duration kLongestSleep = absl::Milliseconds(100);  // a watcher that left, or a server that stops, is noticed by then
constexpr int kThreadsPerMessage = 64;                             // far below kMaxMessageBytes

// Nobody is given more than an hour at once.
absl::StatusOr<absl::Duration> DurationOf(std::uint64_t ns, std::string_view field) {
  if (ns > static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(kMaxInterval))) return BadField(field, "must be at most an hour");
  return absl::Nanoseconds(static_cast<std::int64_t>(ns));
}

// NotFound is about the program, whoever says it.
absl::Status Explained(absl::Status status) {
  if (absl::IsNotFound(status)) return WithReason(std::move(status), reason::kUnknownProgram, "program_id");
  return status;
}

}  // namespace

grpc::Status SupervisorService::StartTrace(grpc::ServerContext* context, const v1::StartTraceRequest* request, v1::StartTraceResponse* response) {
  return Serve(*context, [&]() -> absl::Status {
    ASHLAR_ASSIGN_OR_RETURN(absl::Duration lease, DurationOf(request->lease_ns(), "lease_ns"));
    if (lease == absl::ZeroDuration()) lease = absl::InfiniteDuration();
    const absl::StatusOr<bool> already = state_.sources.supervisor->start_trace(SpaceId(request->program_id()), lease);
    if (!already.ok()) return Explained(already.status());
    response->set_already_traced(*already);
    return absl::OkStatus();
  });
}

grpc::Status SupervisorService::StopTrace(grpc::ServerContext* context, const v1::StopTraceRequest* request, v1::StopTraceResponse*) {
  return Serve(*context, [&] { return Explained(state_.sources.supervisor->stop_trace(SpaceId(request->program_id()))); });
}

grpc::Status SupervisorService::GetSyscalls(grpc::ServerContext* context, const v1::GetSyscallsRequest* request, v1::SyscallReport* response) {
  return Serve(*context, [&] {
    const absl::StatusOr<SyscallReport> report = state_.sources.supervisor->syscalls(SpaceId(request->program_id()));
    if (report.ok()) ToProto(*report, response);
    return Explained(report.status());
  });
}

grpc::Status SupervisorService::WatchSyscalls(grpc::ServerContext* context, const v1::WatchSyscallsRequest* request,
                                              grpc::ServerWriter<v1::SyscallReport>* writer) {
  return Serve(*context, [&] {
    const int others = watchers_.fetch_add(1);
    const absl::Status status = others < kMaxWatchers
                                    ? Watch(*context, *request, *writer)
                                    : absl::ResourceExhaustedError(absl::StrCat(kMaxWatchers, " clients watch already; ask once, without watching"));
    watchers_.fetch_sub(1);
    return status;
  });
}

absl::Status SupervisorService::Watch(const grpc::ServerContext& context, const v1::WatchSyscallsRequest& request,
                                      grpc::ServerWriter<v1::SyscallReport>& writer) {
  ASHLAR_ASSIGN_OR_RETURN(const absl::Duration interval, DurationOf(request.interval_ns(), "interval_ns"));
  if (interval < kMinInterval) return BadField("interval_ns", "must be at least 100 ms");
  for (absl::Time next = absl::Now(); !context.IsCancelled();) {
    const absl::StatusOr<SyscallReport> report = state_.sources.supervisor->syscalls(SpaceId(request.program_id()));
    if (!report.ok()) return Explained(report.status());
    v1::SyscallReport message;
    ToProto(*report, &message);
    if (!writer.Write(message) || report->final) return absl::OkStatus();
    next = std::max(next + interval, absl::Now());
    while (!context.IsCancelled() && absl::Now() < next) absl::SleepFor(std::min(kLongestSleep, next - absl::Now()));
  }
  return absl::OkStatus();
}

grpc::Status SupervisorService::ListThreads(grpc::ServerContext* context, const v1::ListThreadsRequest* request,
                                            grpc::ServerWriter<v1::ThreadList>* writer) {
  return Serve(*context, [&] {
    const absl::StatusOr<ThreadReport> report = state_.sources.supervisor->threads(SpaceId(request->program_id()));
    if (!report.ok()) return Explained(report.status());
    v1::ThreadList message;
    message.set_ended_without_a_row(report->ended_without_a_row);
    for (const ThreadStats& thread : report->threads) {
      ToProto(thread, message.add_threads());
      if (message.threads_size() < kThreadsPerMessage) continue;
      if (!writer->Write(message)) return absl::OkStatus();  // it left
      message.clear_threads();
    }
    writer->Write(message);
    return absl::OkStatus();
  });
}

}  // namespace ashlar::control
