#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/control/control_client.h"
#include "common/control/error.h"
#include "tests/unit/common/control/test_cluster.h"

namespace ashlar::control {
namespace {

constexpr SpaceId kTraced{5};
constexpr absl::Duration kTimeout = absl::Seconds(10);

SyscallStats Read() {
  SyscallStats stats{.number = 0, .name = "read", .calls = 5, .errors = 1, .restarted = 2, .unreturned = 1, .total_ns = 1000, .min_ns = 100, .max_ns = 400};
  stats.miss_ns = 300;
  stats.miss_count = 2;
  stats.histogram[3] = 5;
  return stats;
}

class SupervisorServiceTest : public testing::Test {
 protected:
  SupervisorServiceTest() {
    ControlSources sources;
    sources.status = [] { return NodeStatus(); };
    sources.supervisor = {
        .start_trace =
            [this](SpaceId program, absl::Duration lease) -> absl::StatusOr<bool> {
          lease_ = lease;
          if (program != kTraced) return absl::NotFoundError("no such program");
          return true;
        },
        .stop_trace = [](SpaceId) { return absl::OkStatus(); },
        .syscalls = [this](SpaceId program) -> absl::StatusOr<SyscallReport> {
          if (program != kTraced) return absl::NotFoundError("not traced");
          SyscallReport report{.program = program, .name = "prog", .pid = 77, .elapsed_ns = 9};
          report.final = ++asked_ == 3;
          report.user_miss_ns = 4;
          report.total = {Read()};
          return report;
        },
        .threads =
            [](SpaceId) -> absl::StatusOr<ThreadReport> {
          ThreadReport report{.ended_without_a_row = 3};
          for (int i = 0; i < 200; ++i) report.threads.push_back({.pid = 77, .tid = i, .name = "t", .syscalls = {Read()}, .in_call = "futex"});
          return report;
        }};
    server_ = StartServer("p1", std::move(sources));
    client_ = ControlClient::Create(server_->address());
  }

  absl::Duration lease_;
  int asked_ = 0;
  std::unique_ptr<ControlServer> server_;
  std::unique_ptr<ControlClient> client_;
};

TEST_F(SupervisorServiceTest, AReportArrivesAsItWas) {
  const auto report = client_->GetSyscalls(kTraced, kTimeout);
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->pid, 77);
  EXPECT_EQ(report->user_miss_ns, 4u);
  const SyscallStats& read = report->total.at(0);
  EXPECT_EQ(read.name, "read");
  EXPECT_EQ(read.restarted, 2u);
  EXPECT_EQ(read.unreturned, 1u);
  EXPECT_EQ(read.miss_ns, 300u);
  EXPECT_EQ(read.histogram, Read().histogram);
}

TEST_F(SupervisorServiceTest, AnUnknownProgramHasItsReason) {
  const auto report = client_->GetSyscalls(SpaceId(6), kTimeout);
  EXPECT_TRUE(absl::IsNotFound(report.status()));
  EXPECT_EQ(ReasonOf(report.status()), reason::kUnknownProgram);
}

TEST_F(SupervisorServiceTest, LeasesAreBounded) {
  EXPECT_EQ(*client_->StartTrace(kTraced, absl::Seconds(5), kTimeout), true);
  EXPECT_EQ(lease_, absl::Seconds(5));
  EXPECT_TRUE(client_->StartTrace(kTraced, absl::InfiniteDuration(), kTimeout).ok());
  EXPECT_EQ(lease_, absl::InfiniteDuration());
  EXPECT_TRUE(absl::IsInvalidArgument(client_->StartTrace(kTraced, absl::Hours(2), kTimeout).status()));
}

TEST_F(SupervisorServiceTest, WatchingEndsWithTheFinalReport) {
  std::vector<bool> finals;
  const absl::Status status = client_->WatchSyscalls(kTraced, absl::Milliseconds(100), [&](const SyscallReport& report) {
    finals.push_back(report.final);
    return true;
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(finals, testing::ElementsAre(false, false, true));
  EXPECT_TRUE(absl::IsInvalidArgument(client_->WatchSyscalls(kTraced, absl::Milliseconds(1), [](const SyscallReport&) { return true; })));
}

TEST_F(SupervisorServiceTest, WhoLeavesEndsTheWatch) {
  int shown = 0;
  EXPECT_TRUE(client_->WatchSyscalls(kTraced, absl::Milliseconds(100), [&](const SyscallReport&) { return ++shown < 1; }).ok());
  EXPECT_EQ(shown, 1);
}

TEST_F(SupervisorServiceTest, ThreadsComeInOrderOverSeveralMessages) {
  const auto report = client_->ListThreads(kTraced, kTimeout);
  ASSERT_TRUE(report.ok()) << report.status();
  ASSERT_EQ(report->threads.size(), 200u);
  EXPECT_EQ(report->threads.at(199).tid, 199);
  EXPECT_EQ(report->threads.at(0).in_call, "futex");
  EXPECT_EQ(report->ended_without_a_row, 3u);
}

}  // namespace
}  // namespace ashlar::control
