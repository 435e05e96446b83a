// The power goes at any moment, and what was in flight reaches the disk in any part: every acknowledged version is
// there after the next start, and nothing is there that was never sent. Small sibling of the crash explorer.
#include <random>

#include "tests/unit/daemons/snode/replica_log/log_fixture.h"

namespace ashlar::snode {
namespace {

// A writer that knows what it sent and what was acknowledged. Page bytes stay borrowed, so it outlives the log.
class CrashTest : public LogFixture {
 protected:
  struct Page {
    std::uint64_t sent = 0;          // highest version sent
    std::uint64_t acknowledged = 0;  // highest acknowledged
    std::uint64_t trim_sent = 0;     // highest up_to_version sent
    std::uint64_t trim_acknowledged = 0;
  };

  void AppendSome(std::mt19937_64& random, std::uint64_t pages) {
    std::vector<PageAppend> appends;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> sent;
    const std::uint64_t count = 1 + random() % 24;
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint64_t page = random() % pages;
      const std::uint64_t version = ++ledger_[page].sent;
      appends.push_back(random() % 5 == 0 ? ZeroPage(5, page, version) : kept_.emplace_back(5, page, version).Append());
      sent.emplace_back(page, version);
    }
    const absl::Status status = log_->Append(appends, [this, sent](std::span<const AppendResult> results) {
      for (std::size_t i = 0; i < sent.size(); ++i) {
        const Outcome outcome = results[i].outcome;
        ASSERT_TRUE(outcome == Outcome::kTaken || outcome == Outcome::kSuperseded || outcome == Outcome::kAlready);
        Page& page = ledger_[sent[i].first];
        page.acknowledged = std::max(page.acknowledged, sent[i].second);
      }
    });
    ASSERT_TRUE(status.ok() || absl::IsResourceExhausted(status)) << status;
  }

  void TrimSome(std::mt19937_64& random, std::uint64_t pages) {
    const std::uint64_t page = random() % pages;
    const std::uint64_t upto = ledger_[page].sent++;  // the next version is above it
    if (upto == 0) return;
    ledger_[page].trim_sent = upto;
    const TrimRange range{.first = PageNumber(page), .count = 1, .upto = Version(upto)};
    ASSERT_TRUE(log_->Trim(SpaceId(5), Epoch(1), {&range, 1},
                           [this, page, upto](const SpaceAnswer& answer) {
                             ASSERT_EQ(answer.outcome, Outcome::kTaken);
                             ledger_[page].trim_acknowledged = std::max(ledger_[page].trim_acknowledged, upto);
                           })
                    .ok());
  }

  void Crash(std::mt19937_64& random) {
    const std::uint64_t keep = random() % 4;  // nothing, half, most, everything of what was in flight
    disk_->Crash([&](std::size_t, std::size_t) {
      return keep == 3 || (keep == 1 && random() % 2 == 0) || (keep == 2 && random() % 10 != 0);
    });
  }

  void CheckLedger() {
    ASSERT_EQ(Stat("suspect_spaces"), 0U) << "a crash was taken for damage";
    for (auto& [number, page] : ledger_) {
      const std::uint64_t held = Held(5, number);
      const bool may_be_gone = page.trim_sent >= page.acknowledged;  // a trim that was sent may be durable
      if (held == 0) {
        ASSERT_TRUE(page.acknowledged == 0 || may_be_gone) << "page " << number << " lost v" << page.acknowledged;
      } else {
        ASSERT_GE(held, page.acknowledged) << "page " << number;
        ASSERT_LE(held, page.sent) << "page " << number << " was invented";
        ASSERT_GT(held, page.trim_acknowledged) << "page " << number << " came back from a trim";
      }
      page.acknowledged = held;  // what is there now stays: it was read
    }
  }

  std::map<std::uint64_t, Page> ledger_;
  std::deque<TestPage> kept_;
};

TEST_F(CrashTest, AcknowledgedVersionsSurviveAnyCrash) {
  int torn_starts = 0;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    log_.reset();
    medium_ = {};
    ledger_.clear();
    kept_.clear();
    Start();
    ASSERT_EQ(Open(5, Opening(1)).outcome, Outcome::kTaken);
    for (int life = 0; life < 6; ++life) {
      disk_->set_auto_complete(false);
      const int steps = static_cast<int>(random() % 120);
      for (int step = 0; step < steps; ++step) {
        if (random() % 6 == 0)
          TrimSome(random, 120);
        else
          AppendSome(random, 120);
        for (std::uint64_t n = random() % 4; n > 0 && disk_->pending_writes() > 0; --n)
          disk_->Complete(random() % disk_->pending_writes(), random() % 200 == 0 ? EIO : 0);
        const absl::Status status = log_->Poll();
        if (absl::IsDataLoss(status)) break;  // two failures in a row: the daemon would exit
        ASSERT_TRUE(status.ok()) << status;
      }
      torn_starts += disk_->pending_writes() > 0 ? 1 : 0;
      Crash(random);
      Start();
      ASSERT_FALSE(HasFatalFailure());
      CheckLedger();
      ASSERT_FALSE(HasFatalFailure());
    }
  }
  EXPECT_GT(torn_starts, 100) << "the seeds must reach crashes with writes in flight";
}

// Three batches in flight: every subset of them whole, and the last in every prefix of sectors.
TEST_F(CrashTest, EverySubsetOfTheBatchesInFlight) {
  for (unsigned subset = 0; subset < 8; ++subset)
    for (std::size_t torn = 0; torn <= 3; ++torn)
      for (std::size_t sectors = 0; sectors < (torn == 3 ? 1U : 24U); sectors += sectors < 9 ? 1 : 5) {
        log_.reset();
        medium_ = {};
        ledger_.clear();
        Start();
        ASSERT_EQ(Open(5, Opening(1)).outcome, Outcome::kTaken);
        std::deque<TestPage> pages;
        ASSERT_EQ(AppendOne(pages.emplace_back(5, 0, 1).Append()), Outcome::kTaken);
        disk_->set_auto_complete(false);
        for (std::uint64_t batch = 0; batch < 3; ++batch) {  // a page and enough zero pages to launch
          std::vector<PageAppend> appends = {pages.emplace_back(5, batch, 2).Append(),
                                             pages.emplace_back(5, 9, 2 + batch).Append()};
          for (std::uint64_t i = 0; i < 40; ++i) appends.push_back(ZeroPage(5, 100 + i, 2 + batch));
          ASSERT_TRUE(log_->Append(appends, [](auto) { FAIL() << "nothing became durable"; }).ok());
          ASSERT_TRUE(log_->Poll().ok());
        }
        ASSERT_EQ(disk_->pending_writes(), 3U);
        disk_->Crash([&](std::size_t write, std::size_t sector) {
          return write == torn ? sector < sectors : (subset >> write & 1) != 0;
        });
        Start();
        ASSERT_FALSE(HasFatalFailure());
        std::uint64_t whole = 0;  // batches kept before the first that is not
        while (whole < 3 && (whole == torn ? sectors == 24 : (subset >> whole & 1) != 0)) ++whole;
        ASSERT_EQ(Stat("suspect_spaces"), 0U);
        ASSERT_EQ(Held(5, 0), whole >= 1 ? 2U : 1U);
        ASSERT_EQ(Held(5, 9), whole == 0 ? 0U : 1 + whole);
        ASSERT_EQ(Held(5, 100), whole == 0 ? 0U : 1 + whole);
      }
}

// The crash hits while a start writes its mark, again and again.
TEST_F(CrashTest, CrashesDuringStart) {
  Start();
  ASSERT_EQ(Open(5, Opening(1)).outcome, Outcome::kTaken);
  for (std::uint64_t page = 0; page < 50; ++page) ASSERT_EQ(AppendOne(TestPage(5, page, 1).Append()), Outcome::kTaken);
  for (int i = 0; i < 40; ++i) {
    auto device = std::make_unique<SimDisk>(&medium_);
    device->set_auto_complete(false);
    SimDisk* disk = device.get();
    struct Spy : LogDevice {
      explicit Spy(SimDisk& d) : disk(d) {}
      bool HasStore() const override { return disk.HasStore(); }
      absl::Status ReadSuperblock(std::uint32_t c, disk::Block o) override { return disk.ReadSuperblock(c, o); }
      absl::Status WriteSuperblock(std::uint32_t c, disk::ConstBlock b) override { return disk.WriteSuperblock(c, b); }
      absl::Status CreateSegment(std::uint32_t n, std::uint32_t b) override { return disk.CreateSegment(n, b); }
      absl::Status AttachSegment(std::uint32_t n, std::uint32_t b) override { return disk.AttachSegment(n, b); }
      absl::Status Read(BlockAddress f, std::span<std::byte> o) override { return disk.Read(f, o); }
      absl::Status SubmitWrite(std::uint64_t t, BlockAddress a,
                               std::span<const std::span<const std::byte>> p) override {
        return disk.SubmitWrite(t, a, p);
      }
      absl::Status Quarantine(std::string_view n, std::span<const std::byte> b) override { return disk.Quarantine(n, b); }
      absl::Status SubmitRead(std::uint64_t t, BlockAddress f, std::span<std::byte> o) override {
        return disk.SubmitRead(t, f, o);
      }
      absl::Status Reap(std::vector<Completion>* d) override { return disk.Reap(d); }
      int event_fd() const override { return -1; }
      SimDisk& disk;
    };
    EXPECT_TRUE(absl::IsUnavailable(ReplicaLog::Open(TestOptions(), std::make_unique<Spy>(*disk), clock_).status()));
    ASSERT_EQ(disk->pending_writes(), 1U);
    disk->Crash([i](std::size_t, std::size_t sector) { return (i >> (sector % 3) & 1) != 0; });
  }
  log_.reset();
  Start();
  for (std::uint64_t page = 0; page < 50; ++page) EXPECT_EQ(Held(5, page), 1U);
  EXPECT_EQ(AppendOne(TestPage(5, 1, 2).Append()), Outcome::kTaken);
}

}  // namespace
}  // namespace ashlar::snode
