#include "common/base/status.h"

#include <cerrno>

#include <gtest/gtest.h>

namespace ashlar {
namespace {

TEST(ErrnoStatus, TellsTheCallerWhatToDo) {
  EXPECT_EQ(ErrnoStatus(ECONNREFUSED, "connect").code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrnoStatus(ENOSPC, "write").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoStatus(EIO, "read").code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrnoStatus(ENOENT, "open x").message(), "open x: No such file or directory");
}

TEST(Annotate, KeepsCodeAndPayload) {
  absl::Status status = absl::NotFoundError("page 7");
  status.SetPayload("ashlar", absl::Cord("reason"));
  const absl::Status annotated = Annotate(status, "space 3");
  EXPECT_EQ(annotated.message(), "space 3: page 7");
  EXPECT_EQ(annotated.GetPayload("ashlar"), absl::Cord("reason"));
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return absl::InvalidArgumentError("odd");
  return n / 2;
}
absl::StatusOr<int> Quarter(int n) {
  ASHLAR_ASSIGN_OR_RETURN(const int half, Half(n));
  ASHLAR_ASSIGN_OR_RETURN(int quarter, Half(half));
  return quarter;
}

TEST(AssignOrReturn, ReturnsTheFirstError) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
}

}  // namespace
}  // namespace ashlar
