#include "common/control/error.h"

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "common/base/status.h"
#include "proto/ashlar/v1/error.pb.h"

namespace ashlar::control {
namespace {

constexpr char kErrorInfoUrl[] = "type.googleapis.com/google.rpc.ErrorInfo";

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

v1::ErrorInfo InfoOf(const absl::Status& status) {
  v1::ErrorInfo info;
  if (const auto payload = status.GetPayload(kErrorInfoUrl)) {
    if (!info.ParseFromString(std::string(*payload))) info.Clear();
  }
  return info;
}

}  // namespace

absl::Status WithReason(absl::Status status, std::string_view reason, std::string_view field) {
  if (status.ok()) return status;
  v1::ErrorInfo info;
  info.set_reason(std::string(reason));
  info.set_domain("ashlar");
  if (!field.empty()) (*info.mutable_metadata())["field"] = std::string(field);
  status.SetPayload(kErrorInfoUrl, absl::Cord(info.SerializeAsString()));
  return status;
}

absl::Status BadField(std::string_view field, std::string_view what) {
  return WithReason(absl::InvalidArgumentError(absl::StrCat(View(field), ": ", View(what))), reason::kFieldOutOfBounds, field);
}

std::string ReasonOf(const absl::Status& status) { return InfoOf(status).reason(); }

std::string FieldOf(const absl::Status& status) {
  const v1::ErrorInfo info = InfoOf(status);
  const auto field = info.metadata().find("field");
  return field == info.metadata().end() ? std::string() : field->second;
}

}  // namespace ashlar::control
