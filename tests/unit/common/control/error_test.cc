#include "common/control/error.h"

#include "common/base/status.h"
#include "common/control/grpc_status.h"
#include "gtest/gtest.h"
#include "proto/ashlar/v1/error.pb.h"

namespace ashlar::control {
namespace {

TEST(ControlError, TravelsOverGrpcWithReasonFieldAndWords) {
  const absl::Status there = Annotate(BadField("client_shard", "must be below 1024, got 9999"), "open link");
  const grpc::Status wire = ToGrpc(there);
  EXPECT_EQ(wire.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const absl::Status here = FromGrpc(wire, "127.0.0.1:7402");
  EXPECT_EQ(here.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(here.message(), "127.0.0.1:7402: open link: client_shard: must be below 1024, got 9999");
  EXPECT_EQ(ReasonOf(here), "FIELD_OUT_OF_BOUNDS");
  EXPECT_EQ(FieldOf(here), "client_shard");
}

// google.rpc.Status{code 3, details [Any{ErrorInfo{reason, domain, metadata}}]}, byte by byte: what standard tools read.
TEST(ControlError, TheTrailerHasTheBytesOfGoogleRpcStatus) {
  const std::string info = std::string("\x0a\x13" "FIELD_OUT_OF_BOUNDS" "\x12\x06" "ashlar" "\x1a\x0a\x0a\x05" "field" "\x12\x01" "x");
  const std::string url = "type.googleapis.com/google.rpc.ErrorInfo";
  const std::string details = std::string("\x0a") + static_cast<char>(url.size()) + url + "\x12" + static_cast<char>(info.size()) + info;
  const std::string expected = std::string("\x08\x03\x12\x06" "x: bad" "\x1a") + static_cast<char>(details.size()) + details;
  EXPECT_EQ(ToGrpc(BadField("x", "bad")).error_details(), expected);
}

TEST(ControlError, EveryReasonIsInTheProto) {
  for (std::string_view reason : {reason::kFieldOutOfBounds, reason::kUnknownNode, reason::kWrongNode, reason::kRoleMayNot,
                                  reason::kNoDataPath, reason::kUnknownProgram, reason::kCallAbandoned}) {
    v1::ErrorReason parsed{};
    EXPECT_TRUE(v1::ErrorReason_Parse("ERROR_REASON_" + std::string(reason), &parsed)) << reason;
  }
  EXPECT_EQ(v1::ErrorReason_descriptor()->value_count(), 8) << "a reason without a constant in error.h";
}

TEST(ControlError, DamagedDetailsAreLeftOutAndTheCodeStays) {
  const absl::Status status = FromGrpc(grpc::Status(grpc::StatusCode::NOT_FOUND, "words", "\xff\xff garbage"), "x");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(status), "");
  EXPECT_EQ(FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(25), "odd"), "x").code(), absl::StatusCode::kUnknown);
  EXPECT_EQ(FromGrpc(grpc::Status(static_cast<grpc::StatusCode>(-1), "odd"), "x").code(), absl::StatusCode::kUnknown);
}

TEST(ControlError, OkStaysOk) {
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
  EXPECT_TRUE(FromGrpc(grpc::Status::OK, "x").ok());
  EXPECT_TRUE(WithReason(absl::OkStatus(), reason::kWrongNode).ok());
}

}  // namespace
}  // namespace ashlar::control
