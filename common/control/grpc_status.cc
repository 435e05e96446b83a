#include "common/control/grpc_status.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "proto/ashlar/v1/error.pb.h"

namespace ashlar::control {
namespace {

// Both sides number their codes alike (gRPC's canonical ones); what is outside of them is kUnknown.
static_assert(static_cast<int>(absl::StatusCode::kUnauthenticated) == static_cast<int>(grpc::StatusCode::UNAUTHENTICATED));
static_assert(static_cast<int>(absl::StatusCode::kUnavailable) == static_cast<int>(grpc::StatusCode::UNAVAILABLE));
static_assert(static_cast<int>(absl::StatusCode::kCancelled) == static_cast<int>(grpc::StatusCode::CANCELLED));

absl::StatusCode CodeOf(grpc::StatusCode code) {
  const int number = static_cast<int>(code);
  if (number <= 0 || number > static_cast<int>(grpc::StatusCode::UNAUTHENTICATED)) return absl::StatusCode::kUnknown;
  return static_cast<absl::StatusCode>(number);
}

// "failed to connect to all addresses; last error: UNKNOWN: ipv4:…: … Connection refused" → "can't connect: Connection refused".
std::string Words(const grpc::Status& status) {
  const std::string& words = status.error_message();
  if (status.error_code() != grpc::StatusCode::UNAVAILABLE || words.rfind("failed to connect", 0) != 0) return words;
  const std::size_t last = words.rfind(": ");
  return last == words.npos ? words : "can't connect: " + words.substr(last + 2);
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  v1::ErrorStatus details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  status.ForEachPayload([&details](absl::string_view url, const absl::Cord& payload) {
    v1::ErrorDetail& detail = *details.add_details();
    detail.set_type_url(std::string(url));
    detail.set_value(std::string(payload));
  });
  const std::string trailer = details.details().empty() ? std::string() : details.SerializeAsString();
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()), trailer);
}

absl::Status FromGrpc(const grpc::Status& status, std::string_view whom) {
  if (status.ok()) return absl::OkStatus();
  absl::Status result(CodeOf(status.error_code()),
                      absl::StrCat(absl::string_view(whom.data(), whom.size()), ": ", Words(status)));
  v1::ErrorStatus details;
  if (!details.ParseFromString(status.error_details())) return result;
  for (const v1::ErrorDetail& detail : details.details()) {
    if (!detail.type_url().empty()) result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return result;
}

}  // namespace ashlar::control
