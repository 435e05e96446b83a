// Errors are the world misbehaving; they travel as absl::Status. For bugs of ours see check.h.
#pragma once

#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ashlar {

// errno as a status whose code tells the caller what to do, text "<what>: <strerror>".
absl::Status ErrnoStatus(int error_number, std::string_view what);

// The same code with "<what>: " in front. OK stays OK.
absl::Status Annotate(absl::Status status, std::string_view what);

}  // namespace ashlar

#define ASHLAR_CONCAT_INNER_(a, b) a##b
#define ASHLAR_CONCAT_(a, b) ASHLAR_CONCAT_INNER_(a, b)

#define ASHLAR_RETURN_IF_ERROR(expression)                       \
  do {                                                           \
    if (absl::Status ashlar_status_ = (expression); !ashlar_status_.ok()) return ashlar_status_; \
  } while (false)

#define ASHLAR_ASSIGN_OR_RETURN(left, expression) \
  ASHLAR_ASSIGN_OR_RETURN_INNER_(ASHLAR_CONCAT_(ashlar_status_or_, __LINE__), left, expression)
#define ASHLAR_ASSIGN_OR_RETURN_INNER_(holder, left, expression) \
  auto holder = (expression);                                    \
  if (!holder.ok()) return std::move(holder).status();           \
  left = *std::move(holder)
