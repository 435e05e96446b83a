// Each kind of damage a disk can do to a log with full, sealed segments, and the verdict expected.
#include "daemons/snode/replica_log/offline.h"
#include "tests/unit/daemons/snode/replica_log/log_fixture.h"

namespace ashlar::snode {
namespace {

class DamageTest : public LogFixture {
 protected:
  static constexpr std::uint64_t kPages = 280;
  // Segments 0 and 1 full and sealed, the last pages in segment 2. Pages 0…279, version 1, ten to a batch.
  void SetUp() override {
    Start();
    ASSERT_EQ(Open(5, Opening(1)).outcome, Outcome::kTaken);
    for (std::uint64_t first = 0; first < kPages; first += 10) Write(first, 10, 1);
    ASSERT_EQ(Stat("sealed_segments_total"), 2U);
    ASSERT_EQ(Segment(kPages - 1), 2U);
    first_ = Segment(0);
    log_.reset();
  }
  void Write(std::uint64_t first, std::uint64_t count, std::uint64_t version) {
    std::deque<TestPage> pages;
    std::vector<PageAppend> appends;
    for (std::uint64_t p = first; p < first + count; ++p) appends.push_back(pages.emplace_back(5, p, version).Append());
    for (const AppendResult& result : Append(appends)) ASSERT_EQ(result.outcome, Outcome::kTaken);
  }
  std::uint32_t Segment(std::uint64_t page) { return log_->index().FindPage(SpaceId(5), PageNumber(page))->segment; }
  std::byte* Block(std::uint32_t segment, std::size_t block) { return medium_.segments.at(segment).data() + block * disk::kBlockBytes; }
  static constexpr std::size_t kLastBlock = kTestSegmentBytes / disk::kBlockBytes - 1;
  void CheckAll(std::uint64_t version = 1) {
    for (std::uint64_t p = 0; p < kPages; ++p) ASSERT_EQ(Held(5, p), version) << "page " << p;
  }
  std::uint32_t first_ = 0;
  std::map<std::uint64_t, std::uint64_t> held_;  // page → acknowledged version
};

TEST_F(DamageTest, NoneAtAll) {
  Start();
  CheckAll();
  EXPECT_EQ(Stat("suspect_spaces"), 0U);
}

TEST_F(DamageTest, ABadFooterOrSealIsScannedAround) {
  for (std::size_t block : {kLastBlock, kLastBlock - 1}) {
    *(Block(first_, block) + 120) ^= std::byte{1};
    Start();
    CheckAll();
    EXPECT_EQ(Stat("suspect_spaces"), 0U);
    log_.reset();
  }
}

// As the first release left its logs.
TEST_F(DamageTest, ALogWithoutFootersOpens) {
  for (auto& [number, bytes] : medium_.segments)
    std::fill(bytes.end() - 4 * disk::kBlockBytes, bytes.end(), std::byte{0});
  Start();
  CheckAll();
}

TEST_F(DamageTest, ABadHeaderInASealedSegmentCostsNothing) {
  for (std::size_t block : {std::size_t{0}, std::size_t{1}, std::size_t{3}}) *(Block(first_, block) + 60) ^= std::byte{1};
  Start();
  CheckAll();
  EXPECT_EQ(Stat("suspect_spaces"), 0U) << "the footer knows";
}

// Segment 0 was picked for reuse: the first batch of its new life is torn, one behind it is whole.
TEST_F(DamageTest, ASegmentTornAtItsReuseIsKnownByItsOldFooterAndDead) {
  Start();
  for (std::uint64_t version = 2; log_ != nullptr; ++version) {  // until segment 0 is about to be used again
    ASSERT_LT(version, 60U);
    disk_->set_auto_complete(false);
    std::deque<TestPage> pages;
    bool torn = false;
    for (std::uint64_t first = 0; first < kPages && !torn; first += 40) {
      std::vector<PageAppend> appends;
      for (std::uint64_t p = first; p < std::min(first + 40, kPages); ++p) appends.push_back(pages.emplace_back(5, p, version).Append());
      std::size_t acknowledged = 0;
      ASSERT_TRUE(log_->Append(appends, [&](auto r) { acknowledged = r.size(); }).ok());
      for (int turn = 0; turn < 1000 && acknowledged == 0 && !torn; ++turn) {
        ASSERT_TRUE(log_->Poll().ok());
        torn = disk_->pending_writes() > 0 && disk_->PendingAt(0).segment == first_ && disk_->PendingAt(0).block == 0;
        if (!torn && disk_->pending_writes() > 0) disk_->Complete(0);
      }
      if (acknowledged > 0)
        for (const PageAppend& append : appends) held_[append.page.value()] = version;
    }
    if (!torn) continue;
    disk_->Crash([](std::size_t, std::size_t sector) { return sector > 0; });  // all but its first sector
    log_.reset();
  }
  for (int start = 0; start < 3; ++start) {
    Start();
    EXPECT_EQ(Stat("suspect_spaces"), 0U) << "a crash can do that";
    for (const auto& [page, version] : held_) ASSERT_GE(Held(5, page), version) << "page " << page;
  }
}

TEST_F(DamageTest, AFlippedBitIsFoundWhenReadAndOnlyThatPageIsLost) {
  Start();
  const PageSlot slot = *log_->index().FindPage(SpaceId(5), PageNumber(17));
  *(Block(slot.segment, slot.block) + 1000) ^= std::byte{0x20};
  for (std::uint64_t p = 0; p < kPages; ++p) EXPECT_EQ(IsBad(5, p), p == 17);
}

// A write that went to another place: the page there is not the one that was asked for, the page it should be on is old.
TEST_F(DamageTest, AMisdirectedPageIsNeverHandedOut) {
  Start();
  const PageSlot from = *log_->index().FindPage(SpaceId(5), PageNumber(17)), to = *log_->index().FindPage(SpaceId(5), PageNumber(45));
  std::memcpy(Block(to.segment, to.block), Block(from.segment, from.block), disk::kBlockBytes);
  EXPECT_TRUE(IsBad(5, 45));
  EXPECT_EQ(Held(5, 17), 1U);
}

TEST_F(DamageTest, AWholeBatchOfAnotherPlaceIsNotBelieved) {
  const std::uint32_t last = 2;
  ASSERT_EQ(disk::DecodeHeader(disk::ConstBlock(std::span<const std::byte>(Block(last, 0), disk::kBlockBytes).first<disk::kBlockBytes>())).fault,
            disk::HeaderFault::kNone);
  std::memcpy(Block(last, 90), Block(last, 0), 20 * disk::kBlockBytes);  // behind the tail
  Start();
  CheckAll();
  EXPECT_EQ(Stat("suspect_spaces"), 0U);
}

// Behind the tail of a reused segment lie batches of its earlier life, whole and with good checksums.
TEST_F(DamageTest, ABatchOfAnEarlierLifeIsNotBelieved) {
  Start();
  for (std::uint64_t version = 2; version < 12; ++version)
    for (std::uint64_t first = 0; first < kPages; first += 10) Write(first, 10, version);
  for (int start = 0; start < 3; ++start) {
    Restart();
    CheckAll(11);
  }
  EXPECT_EQ(Stat("suspect_spaces"), 0U);
}

TEST_F(DamageTest, AScrubFindsWhatRotsThoughNobodyReadsIt) {
  LogOptions options = TestOptions();
  options.scrub_period_ns = 1'000'000'000;
  auto device = std::make_unique<SimDisk>(&medium_);
  disk_ = device.get();
  log_ = *ReplicaLog::Open(options, std::move(device), clock_);
  const PageSlot slot = *log_->index().FindPage(SpaceId(5), PageNumber(17));
  *(Block(slot.segment, slot.block) + 1000) ^= std::byte{0x20};
  const std::uint64_t begun = clock_.NowNs();
  while (Stat("scrub_passes_total") == 0) {
    const std::uint64_t at = log_->NextDeadlineNs().value_or(0);  // none: it waits for the disk
    if (at > clock_.NowNs()) clock_.Advance(absl::Nanoseconds(at - clock_.NowNs()));
    ASSERT_TRUE(log_->Poll().ok());
    ASSERT_LT(clock_.NowNs() - begun, 3'000'000'000U) << "once round in a period, or so";
  }
  EXPECT_GT(clock_.NowNs() - begun, 500'000'000U) << "and no faster";
  EXPECT_EQ(Stat("scrubbed_pages_total"), kPages);
  EXPECT_EQ(Stat("bad_pages"), 1U);
  EXPECT_EQ(*log_->FindSpace(SpaceId(5))->bad_pages.begin(), 17U);
}

// The cleaner moves pages while they are read: they are read where they are now, and none counts as bad.
TEST_F(DamageTest, APageThatMovesWhileItIsReadIsNotBad) {
  Start();
  disk_->set_hold_reads(true);
  std::vector<PageNumber> pages;
  for (std::uint64_t p = 0; p < 64; ++p) pages.emplace_back(p);
  std::vector<std::uint64_t> versions;
  ASSERT_TRUE(log_->ReadPages(SpaceId(5), pages, [&](std::span<const PageRead> read) {
                    for (const PageRead& page : read) {
                      EXPECT_EQ(page.verdict, ReadVerdict::kOk);
                      versions.push_back(page.stored.version.value());
                    }
                  }).ok());
  disk_->set_hold_reads(false);  // those of the reader are held, what comes now is not
  for (std::uint64_t version = 2; version < 12; ++version)
    for (std::uint64_t first = 0; first < kPages; first += 10) {
      std::deque<TestPage> kept;
      std::vector<PageAppend> appends;
      for (std::uint64_t p = first; p < first + 10; ++p) appends.push_back(kept.emplace_back(5, p, version).Append());
      bool done = false;
      ASSERT_TRUE(log_->Append(appends, [&](auto) { done = true; }).ok());
      for (int turn = 0; turn < 1000 && !done; ++turn) ASSERT_TRUE(log_->Poll().ok());
      ASSERT_TRUE(done);
    }
  EXPECT_TRUE(versions.empty());
  disk_->ReleaseReads();
  ASSERT_TRUE(Settle().ok());
  ASSERT_EQ(versions.size(), 64U);
  for (std::uint64_t version : versions) EXPECT_EQ(version, 11U);
  EXPECT_EQ(Stat("bad_pages_total"), 0U);
}

TEST_F(DamageTest, VerifyTellsLossFromHarmlessRotAndChangesNothing) {
  Start();
  const PageSlot dead = *log_->index().FindPage(SpaceId(5), PageNumber(3)), live = *log_->index().FindPage(SpaceId(5), PageNumber(60));
  Write(3, 1, 2);
  log_.reset();
  const auto verify = [&] {
    SimDisk disk(&medium_);
    const SimMedium before = medium_;
    const auto report = VerifyStore(disk);
    EXPECT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(before.segments, medium_.segments);
    EXPECT_EQ(before.superblocks, medium_.superblocks);
    return *report;
  };
  EXPECT_FALSE(verify().loss());
  EXPECT_EQ(verify().live_pages, kPages);
  EXPECT_EQ(verify().pages, kPages + 1);
  *(Block(dead.segment, dead.block) + 9) ^= std::byte{1};
  const StoreReport harmless = verify();
  ASSERT_EQ(harmless.bad.size(), 1U);
  EXPECT_EQ(harmless.bad[0].held_version, 2U);
  EXPECT_FALSE(harmless.loss());
  *(Block(live.segment, live.block) + 9) ^= std::byte{1};
  EXPECT_TRUE(verify().loss());
  medium_.segments.erase(1);
  SimDisk disk(&medium_);
  EXPECT_TRUE(absl::IsDataLoss(VerifyStore(disk).status()));
}

TEST_F(DamageTest, AReadErrorAtStartIsDamageNotTheEnd) {
  auto device = std::make_unique<SimDisk>(&medium_);
  device->FailReadsOf({first_, 0});
  device->FailReadsOf({2, 0});  // the first batch of the open segment
  disk_ = device.get();
  auto log = ReplicaLog::Open(TestOptions(), std::move(device), clock_);
  ASSERT_TRUE(log.ok()) << log.status();
  log_ = *std::move(log);
  EXPECT_TRUE(log_->IsSuspect(SpaceId(5)));
  EXPECT_EQ(Held(5, 100), 1U);
}

TEST_F(DamageTest, AnotherStoresSealIsRefusedWithWords) {
  SimMedium other = medium_;
  medium_ = {};
  Start();
  log_.reset();
  medium_.segments[3] = other.segments[0];
  const absl::Status status = TryStart();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_NE(std::string(status.message()).find("belongs to another store"), std::string::npos) << status;
}

TEST_F(DamageTest, ASealedSegmentInAnotherPlaceIsRefusedWithWords) {
  medium_.segments[4] = medium_.segments[0];
  const absl::Status status = TryStart();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_NE(std::string(status.message()).find("of segment 0"), std::string::npos) << status;
}

TEST_F(DamageTest, AFailedFooterTakesTheSegmentOutOfUseAndLosesNothing) {
  medium_ = {};
  Start();
  ASSERT_EQ(Open(5, Opening(1)).outcome, Outcome::kTaken);
  disk_->FailWritesTo(0, kLastBlock);
  for (std::uint64_t first = 0; first < kPages; first += 10) Write(first, 10, 1);
  EXPECT_EQ(Stat("write_errors_total"), 1U);
  Restart();
  CheckAll();
}

}  // namespace
}  // namespace ashlar::snode
