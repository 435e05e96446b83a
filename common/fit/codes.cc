#include "absl/strings/str_cat.h"
#include "common/fit/call.h"

namespace ashlar::fit {
namespace {

struct CodeInfo {
  Code code;
  absl::StatusCode status;
  const char* words;
};
constexpr CodeInfo kTable[] = {
    {Code::kOk, absl::StatusCode::kOk, "ok"},
    {Code::kStaleEpoch, absl::StatusCode::kFailedPrecondition, "stale epoch: rejoin"},
    {Code::kExhausted, absl::StatusCode::kResourceExhausted, "the server is short of something: try later"},
    {Code::kDataLoss, absl::StatusCode::kDataLoss, "data loss: stop and look"},
    {Code::kOutcomeUnknown, absl::StatusCode::kAborted, "outcome unknown: the server that had the call is gone"},
    {Code::kMalformed, absl::StatusCode::kInvalidArgument, "malformed request"},
    {Code::kUnknownOpcode, absl::StatusCode::kUnimplemented, "the server does not know this opcode"},
    {Code::kNotFound, absl::StatusCode::kNotFound, "not found"},
    {Code::kUnavailable, absl::StatusCode::kUnavailable, "unavailable"},
    {Code::kAlready, absl::StatusCode::kOk, "already there"},
    {Code::kSuperseded, absl::StatusCode::kOk, "superseded"},
};

}  // namespace

absl::Status ToStatus(Code code, std::string_view words) {
  for (const CodeInfo& info : kTable) {
    if (info.code != code) continue;
    if (info.status == absl::StatusCode::kOk) return absl::OkStatus();
    return absl::Status(info.status, absl::StrCat(absl::string_view(words.data(), words.size()), ": ", info.words));
  }
  return absl::UnavailableError(absl::StrCat(absl::string_view(words.data(), words.size()), ": the server answered with code ",
                                             static_cast<int>(code), ", which this version does not know"));
}

}  // namespace ashlar::fit
