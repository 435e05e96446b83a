// The real device: files, O_DIRECT, io_uring. Skips where the file system has no O_DIRECT.
#include "daemons/snode/replica_log/file_device.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "common/base/status.h"
#include "common/base/unique_fd.h"
#include "tests/unit/daemons/snode/replica_log/log_fixture.h"

namespace ashlar::snode {
namespace {

class FileDeviceTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/ashlar_log_XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
    const UniqueFd probe(::open((name + "/probe").c_str(), O_CREAT | O_RDWR | O_DIRECT | O_CLOEXEC, 0600));
    if (!probe.valid()) GTEST_SKIP() << name << ": the file system has no O_DIRECT";
    std::filesystem::remove(name + "/probe");
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  absl::StatusOr<std::unique_ptr<ReplicaLog>> Open() {
    ASHLAR_ASSIGN_OR_RETURN(std::unique_ptr<FileDevice> device, FileDevice::Open(directory_));
    return ReplicaLog::Open(TestOptions(16), std::move(device));
  }
  static void PollUntil(ReplicaLog& log, const std::function<bool()>& done) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!done()) {
      ASSERT_LT(std::chrono::steady_clock::now(), end);
      const absl::Status status = log.Poll();
      ASSERT_TRUE(status.ok()) << status;
      pollfd wait{.fd = log.event_fd(), .events = POLLIN, .revents = 0};
      if (!done()) ::poll(&wait, 1, log.NextDeadlineNs() == 0 ? 0 : 20);
    }
  }
  static void OpenSpace(ReplicaLog& log) {
    bool open = false;
    ASSERT_TRUE(
        log.OpenSpace(SpaceId(5), Opening(1), [&](const SpaceAnswer& a) { open = a.outcome == Outcome::kTaken; }).ok());
    PollUntil(log, [&] { return open; });
  }

  std::string directory_;
};

TEST_F(FileDeviceTest, PagesSurviveACleanRestart) {
  {
    auto log = Open();
    ASSERT_TRUE(log.ok()) << log.status();
    OpenSpace(**log);
    std::deque<TestPage> pages;
    std::vector<PageAppend> appends;
    for (std::uint64_t p = 0; p < 200; ++p) appends.push_back(pages.emplace_back(5, p, 1).Append());
    bool done = false;
    ASSERT_TRUE((*log)
                    ->Append(appends,
                             [&](std::span<const AppendResult> results) {
                               for (const AppendResult& result : results) EXPECT_EQ(result.outcome, Outcome::kTaken);
                               done = true;
                             })
                    .ok());
    PollUntil(**log, [&] { return done; });
  }
  auto log = Open();
  ASSERT_TRUE(log.ok()) << log.status();
  alignas(8) std::array<std::byte, kPageBytes> bytes;
  for (std::uint64_t p = 0; p < 200; ++p) {
    ASSERT_TRUE((*log)->ReadPage(SpaceId(5), PageNumber(p), bytes).ok());
    EXPECT_EQ(std::memcmp(bytes.data(), TestPage(5, p, 1).bytes().data(), kPageBytes), 0);
  }
}

TEST_F(FileDeviceTest, ASecondDaemonIsTurnedAwayWithTheHoldersPid) {
  auto log = Open();
  ASSERT_TRUE(log.ok()) << log.status();
  const absl::Status second = Open().status();
  EXPECT_TRUE(absl::IsUnavailable(second));
  EXPECT_NE(std::string(second.message()).find(std::to_string(::getpid())), std::string::npos) << second;
}

TEST_F(FileDeviceTest, AMissingOrShortSegmentIsRefused) {
  ASSERT_TRUE(Open().ok());
  std::filesystem::resize_file(directory_ + "/seg-00000003", 4096);
  EXPECT_TRUE(absl::IsDataLoss(Open().status()));
  std::filesystem::remove(directory_ + "/seg-00000003");
  EXPECT_TRUE(absl::IsDataLoss(Open().status()));
}

TEST_F(FileDeviceTest, SegmentsWithoutASuperblockAreRefused) {
  ASSERT_TRUE(Open().ok());
  std::filesystem::remove(directory_ + "/superblock");
  EXPECT_TRUE(absl::IsDataLoss(Open().status()));
}

TEST_F(FileDeviceTest, ASegmentThatWasNotYetCountedIsMadeAnew) {
  ASSERT_TRUE(Open().ok());
  std::ofstream(directory_ + "/seg-00000010") << "half of a segment";  // number 16: one beyond
  auto device = FileDevice::Open(directory_);
  ASSERT_TRUE(device.ok());
  auto log = ReplicaLog::Open(TestOptions(17), *std::move(device));
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ(std::filesystem::file_size(directory_ + "/seg-00000010"), kTestSegmentBytes);
}

// The child writes each acknowledged (page, version) into a pipe; after kill -9 the log must hold all of them.
TEST_F(FileDeviceTest, AcknowledgedVersionsSurviveKillMinusNine) {
  std::map<std::uint64_t, std::uint64_t> ledger;
  for (int life = 0; life < 4; ++life) {
    std::array<int, 2> ends;
    ASSERT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto log = Open();
      if (!log.ok()) ::_exit(3);
      OpenSpace(**log);
      std::deque<TestPage> pages;
      for (std::uint64_t version = 1'000'000U * (1 + static_cast<unsigned>(life));; ++version) {
        std::vector<PageAppend> appends;
        pages.clear();
        for (std::uint64_t p = 0; p < 40; ++p)
          appends.push_back(pages.emplace_back(5, (version * 7 + p) % 300, version).Append());
        bool done = false;
        if (!(*log)
                 ->Append(appends,
                          [&](std::span<const AppendResult> results) {
                            for (std::size_t i = 0; i < results.size(); ++i) {
                              const std::array<std::uint64_t, 2> line = {appends[i].page.value(), version};
                              if (results[i].outcome != Outcome::kTaken ||
                                  ::write(ends[1], line.data(), sizeof(line)) != sizeof(line))
                                ::_exit(4);
                            }
                            done = true;
                          })
                 .ok())
          ::_exit(5);
        while (!done)
          if (!(*log)->Poll().ok()) ::_exit(6);
      }
    }
    ::close(ends[1]);
    std::array<std::uint64_t, 2> line;
    std::size_t lines = 0;
    while (::read(ends[0], line.data(), sizeof(line)) == sizeof(line)) {
      ledger[line[0]] = std::max(ledger[line[0]], line[1]);
      if (++lines == 4000) ::kill(child, SIGKILL);  // the rest of the pipe was acknowledged too
    }
    ::close(ends[0]);
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status)) << "the child ended by itself, exit " << WEXITSTATUS(status);
    auto log = Open();
    ASSERT_TRUE(log.ok()) << log.status();
    alignas(8) std::array<std::byte, kPageBytes> bytes;
    for (const auto& [page, version] : ledger) {
      const auto stored = (*log)->ReadPage(SpaceId(5), PageNumber(page), bytes);
      ASSERT_TRUE(stored.ok()) << stored.status();
      ASSERT_GE(stored->version.value(), version);
      ASSERT_EQ(std::memcmp(bytes.data(), TestPage(5, page, stored->version.value()).bytes().data(), kPageBytes), 0);
    }
  }
}

}  // namespace
}  // namespace ashlar::snode
