#include "common/base/status.h"

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"

namespace ashlar {
namespace {

// Wider than absl::ErrnoToStatusCode where our callers act on the difference.
absl::StatusCode CodeOf(int error_number) {
  switch (error_number) {
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENOTCONN:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return absl::StatusCode::kUnavailable;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case ENOSPC:
      return absl::StatusCode::kResourceExhausted;
    case EIO:
      return absl::StatusCode::kDataLoss;
    default:
      return absl::ErrnoToStatusCode(error_number);
  }
}

}  // namespace

absl::Status ErrnoStatus(int error_number, std::string_view what) {
  char buffer[128];
  const char* words = ::strerror_r(error_number, buffer, sizeof(buffer));
  return absl::Status(CodeOf(error_number), absl::StrCat(absl::string_view(what.data(), what.size()), ": ", words));
}

absl::Status Annotate(absl::Status status, std::string_view what) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(),
                         absl::StrCat(absl::string_view(what.data(), what.size()), ": ", status.message()));
  status.ForEachPayload(
      [&annotated](absl::string_view url, const absl::Cord& payload) { annotated.SetPayload(url, payload); });
  return annotated;
}

}  // namespace ashlar
