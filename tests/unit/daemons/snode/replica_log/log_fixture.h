// What the tests of the replica log share: a log on a SimDisk, pages with known bytes, small verbs.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "common/base/crc32c.h"
#include "common/telemetry/log.h"
#include "daemons/snode/replica_log/replica_log.h"
#include "daemons/snode/replica_log/sim_disk.h"

namespace ashlar::snode {

constexpr NodeInstance kPnode{NodeId(1), Incarnation(10)};
constexpr NodeInstance kHome{NodeId(2), Incarnation(20)};
constexpr std::uint64_t kTestSegmentBytes = 128 * disk::kBlockBytes;

inline LogOptions TestOptions(std::uint32_t segments = 8) {
  return {.store = {.capacity_bytes = segments * kTestSegmentBytes,
                    .segment_bytes = kTestSegmentBytes,
                    .cluster = "test",
                    .node = NodeId(77)}};
}

inline OpenRecord Opening(std::uint64_t epoch, std::uint64_t view = 1) {
  return {.epoch = Epoch(epoch), .view = view, .owner = kPnode, .home = kHome, .ack = 2, .replicas = {{NodeId(77), 2}}};
}

// One aligned page whose bytes follow from (space, page, version, salt).
class TestPage {
 public:
  TestPage(std::uint64_t space, std::uint64_t page, std::uint64_t version, std::uint64_t salt = 0)
      : bytes_(static_cast<std::byte*>(std::aligned_alloc(kPageBytes, kPageBytes)), &std::free),
        space_(space),
        page_(page),
        version_(version) {
    std::uint64_t word = space * 1'000'003 + page * 7919 + version * 31 + salt;
    for (std::size_t i = 0; i < kPageBytes; i += 8) {
      word = word * 6364136223846793005ULL + 1442695040888963407ULL;
      std::memcpy(bytes_.get() + i, &word, 8);
    }
  }
  std::span<const std::byte> bytes() const { return {bytes_.get(), kPageBytes}; }
  std::uint32_t crc() const { return PageCrc32c(SpaceId(space_), PageNumber(page_), Version(version_), bytes()); }
  PageAppend Append(std::uint64_t epoch = 1) const {
    return {.space = SpaceId(space_),
            .epoch = Epoch(epoch),
            .page = PageNumber(page_),
            .version = Version(version_),
            .crc = crc(),
            .bytes = bytes_.get()};
  }

 private:
  std::shared_ptr<std::byte> bytes_;
  std::uint64_t space_, page_, version_;
};

inline PageAppend ZeroPage(std::uint64_t space, std::uint64_t page, std::uint64_t version, std::uint64_t epoch = 1) {
  return {.space = SpaceId(space),
          .epoch = Epoch(epoch),
          .page = PageNumber(page),
          .version = Version(version),
          .crc = PageCrc32c(SpaceId(space), PageNumber(page), Version(version), {})};
}

class LogFixture : public testing::Test {
 protected:
  LogFixture() { log::SetLevel(log::Level::kError); }
  absl::Status TryStart(std::uint32_t segments = 8) {
    log_.reset();
    auto device = std::make_unique<SimDisk>(&medium_);
    disk_ = device.get();
    absl::StatusOr<std::unique_ptr<ReplicaLog>> log =
        ReplicaLog::Open(TestOptions(segments), std::move(device), clock_);
    if (!log.ok()) return log.status();
    log_ = *std::move(log);
    return absl::OkStatus();
  }
  void Start(std::uint32_t segments = 8) {
    const absl::Status status = TryStart(segments);
    ASSERT_TRUE(status.ok()) << status;
  }
  // The power goes with nothing of the pending writes on the medium; then the next start.
  void Restart(std::uint32_t segments = 8) {
    disk_->Crash([](std::size_t, std::size_t) { return false; });
    Start(segments);
  }
  // Polls until nothing is under way.
  absl::Status Settle(int turns = 100'000) {
    for (; turns > 0 && !log_->idle(); --turns)
      if (absl::Status status = log_->Poll(); !status.ok()) return status;
    return turns > 0 ? absl::OkStatus() : absl::DeadlineExceededError("the log does not settle");
  }
  std::vector<AppendResult> Append(std::vector<PageAppend> pages) {
    std::vector<AppendResult> results;
    const absl::Status status =
        log_->Append(pages, [&](std::span<const AppendResult> r) { results.assign(r.begin(), r.end()); });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(Settle().ok());
    EXPECT_EQ(results.size(), pages.size());
    results.resize(pages.size());
    return results;
  }
  Outcome AppendOne(const PageAppend& page) { return Append({page})[0].outcome; }
  SpaceAnswer Open(std::uint64_t space, const OpenRecord& record) {
    return Wait([&](auto done) { return log_->OpenSpace(SpaceId(space), record, std::move(done)); });
  }
  SpaceAnswer Fence(std::uint64_t space, std::uint64_t epoch, NodeInstance owner = kPnode) {
    return Wait([&](auto done) { return log_->Fence(SpaceId(space), Epoch(epoch), owner, std::move(done)); });
  }
  SpaceAnswer Trim(std::uint64_t space, std::uint64_t first, std::uint64_t count, std::uint64_t upto,
                   std::uint64_t epoch = 1) {
    const TrimRange range{.first = PageNumber(first), .count = count, .upto = Version(upto)};
    return Wait([&](auto done) { return log_->Trim(SpaceId(space), Epoch(epoch), {&range, 1}, std::move(done)); });
  }
  SpaceAnswer End(std::uint64_t space, std::uint64_t epoch = 1) {
    return Wait([&](auto done) { return log_->EndSpace(SpaceId(space), Epoch(epoch), std::move(done)); });
  }
  // The version of a page held, its bytes checked against those of TestPage; 0 = none.
  std::uint64_t Held(std::uint64_t space, std::uint64_t page, std::uint64_t salt = 0) {
    alignas(8) std::array<std::byte, kPageBytes> bytes;
    const absl::StatusOr<StoredPage> stored = log_->ReadPage(SpaceId(space), PageNumber(page), bytes);
    if (absl::IsNotFound(stored.status())) return 0;
    EXPECT_TRUE(stored.ok()) << stored.status();
    if (!stored.ok()) return 0;
    if (!stored->zero) {
      const TestPage expected(space, page, stored->version.value(), salt);
      EXPECT_EQ(std::memcmp(expected.bytes().data(), bytes.data(), kPageBytes), 0) << "page " << page;
    }
    return stored->version.value();
  }
  // Reading it answers DataLoss: the snode knows that it had it.
  bool IsBad(std::uint64_t space, std::uint64_t page) {
    alignas(8) std::array<std::byte, kPageBytes> bytes;
    return absl::IsDataLoss(log_->ReadPage(SpaceId(space), PageNumber(page), bytes).status());
  }
  std::uint64_t Stat(std::string_view name, std::string_view labels = "") {
    StatList stats;
    log_->CollectStats(stats);
    for (const auto& stat : stats.values)
      if (stat.name == name && stat.labels == labels) return stat.value;
    ADD_FAILURE() << "no stat " << name;
    return 0;
  }

  ManualClock clock_;
  SimMedium medium_;
  SimDisk* disk_ = nullptr;
  std::unique_ptr<ReplicaLog> log_;

 private:
  template <typename Call>
  SpaceAnswer Wait(Call call) {
    std::optional<SpaceAnswer> answer;
    const absl::Status status = call([&](const SpaceAnswer& a) { answer = a; });
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(Settle().ok());
    EXPECT_TRUE(answer.has_value());
    return answer.value_or(SpaceAnswer{});
  }
};

}  // namespace ashlar::snode
