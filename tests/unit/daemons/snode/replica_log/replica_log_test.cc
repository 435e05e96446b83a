#include "daemons/snode/replica_log/replica_log.h"

#include "tests/unit/daemons/snode/replica_log/log_fixture.h"

namespace ashlar::snode {
namespace {

class ReplicaLogTest : public LogFixture {
 protected:
  void SetUp() override {
    Start();
    ASSERT_EQ(Open(5, Opening(1)).outcome, Outcome::kTaken);
  }
};

TEST_F(ReplicaLogTest, AnAppendedPageIsReadBackAlsoAfterARestart) {
  const TestPage page(5, 100, 3);
  EXPECT_EQ(AppendOne(page.Append()), Outcome::kTaken);
  EXPECT_EQ(AppendOne(ZeroPage(5, 101, 4)), Outcome::kTaken);
  EXPECT_EQ(Held(5, 100), 3U);
  EXPECT_EQ(Held(5, 101), 4U);
  Restart();
  EXPECT_EQ(Held(5, 100), 3U);
  EXPECT_EQ(Held(5, 101), 4U);
  EXPECT_EQ(log_->FindSpace(SpaceId(5))->open.owner, kPnode);
  EXPECT_EQ(AppendOne(TestPage(5, 100, 4).Append()), Outcome::kTaken);
}

TEST_F(ReplicaLogTest, VersionsRule) {
  EXPECT_EQ(AppendOne(TestPage(5, 1, 7).Append()), Outcome::kTaken);
  EXPECT_EQ(AppendOne(TestPage(5, 1, 7).Append()), Outcome::kAlready);
  const AppendResult lower = Append({TestPage(5, 1, 6).Append()})[0];
  EXPECT_EQ(lower.outcome, Outcome::kSuperseded);
  EXPECT_EQ(lower.stored_version, Version(7));
  EXPECT_EQ(AppendOne(TestPage(5, 1, 7, /*salt=*/1).Append()), Outcome::kTwoVersions);
  EXPECT_EQ(Held(5, 1), 7U);
}

TEST_F(ReplicaLogTest, OneNumberTwiceIsRefusedWhileTheFirstIsInFlight) {
  disk_->set_auto_complete(false);
  std::optional<Outcome> first, second;
  const TestPage one(5, 1, 7), other(5, 1, 7, 1);
  const PageAppend a = one.Append(), b = other.Append();
  ASSERT_TRUE(log_->Append({&a, 1}, [&](auto r) { first = r[0].outcome; }).ok());
  ASSERT_TRUE(log_->Append({&b, 1}, [&](auto r) { second = r[0].outcome; }).ok());
  ASSERT_TRUE(log_->Poll().ok());
  EXPECT_EQ(second, Outcome::kTwoVersions);
  EXPECT_FALSE(first.has_value());
  disk_->set_auto_complete(true);
  ASSERT_TRUE(Settle().ok());
  EXPECT_EQ(first, Outcome::kTaken);
}

TEST_F(ReplicaLogTest, NothingIsAnsweredBeforeTheDiskHasIt) {
  disk_->set_auto_complete(false);
  bool done = false;
  const TestPage page(5, 1, 1);
  const PageAppend append = page.Append();
  ASSERT_TRUE(log_->Append({&append, 1}, [&](auto) { done = true; }).ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(log_->Poll().ok());
  EXPECT_FALSE(done);
  ASSERT_EQ(disk_->pending_writes(), 1U);
  disk_->Complete(0);
  ASSERT_TRUE(log_->Poll().ok());
  EXPECT_TRUE(done);
}

TEST_F(ReplicaLogTest, AcknowledgesInOrderAlthoughWritesOvertake) {
  disk_->set_auto_complete(false);
  std::vector<std::uint64_t> answered;
  std::deque<TestPage> pages;
  for (std::uint64_t call = 0; call < 4; ++call) {  // each fills the 32 entries that launch a batch beside others
    std::vector<PageAppend> batch;
    for (std::uint64_t i = 0; i < 20; ++i) batch.push_back(pages.emplace_back(5, call * 20 + i, 1).Append());
    for (std::uint64_t i = 0; i < 20; ++i) batch.push_back(ZeroPage(5, 1000 + call * 20 + i, 1));
    ASSERT_TRUE(log_->Append(batch, [&answered, call](auto) { answered.push_back(call); }).ok());
    ASSERT_TRUE(log_->Poll().ok());
  }
  ASSERT_EQ(disk_->pending_writes(), 4U);
  disk_->Complete(2);
  disk_->Complete(1);
  ASSERT_TRUE(log_->Poll().ok());
  EXPECT_TRUE(answered.empty());
  disk_->Complete(0);
  ASSERT_TRUE(log_->Poll().ok());
  EXPECT_EQ(answered, (std::vector<std::uint64_t>{0, 1, 2}));
  disk_->Complete(0);
  ASSERT_TRUE(log_->Poll().ok());
  EXPECT_EQ(answered, (std::vector<std::uint64_t>{0, 1, 2, 3}));
}

TEST_F(ReplicaLogTest, LoadMakesItsOwnBatches) {
  disk_->set_auto_complete(false);
  std::deque<TestPage> pages;
  int done = 0;
  for (std::uint64_t i = 0; i < 31; ++i) {
    const PageAppend append = pages.emplace_back(5, i, 1).Append();
    ASSERT_TRUE(log_->Append({&append, 1}, [&](auto) { ++done; }).ok());
    ASSERT_TRUE(log_->Poll().ok());
  }
  EXPECT_EQ(disk_->pending_writes(), 1U) << "thirty wait: fewer than a batch beside another";
  const PageAppend last = pages.emplace_back(5, 99, 1).Append();
  const PageAppend one_more = pages.emplace_back(5, 100, 1).Append();
  ASSERT_TRUE(log_->Append({&last, 1}, [&](auto) { ++done; }).ok());
  ASSERT_TRUE(log_->Append({&one_more, 1}, [&](auto) { ++done; }).ok());
  ASSERT_TRUE(log_->Poll().ok());
  EXPECT_EQ(disk_->pending_writes(), 2U);
  disk_->set_auto_complete(true);
  ASSERT_TRUE(Settle().ok());
  EXPECT_EQ(done, 33);
}

TEST_F(ReplicaLogTest, BadBytesAndBadArgumentsAreRefused) {
  const TestPage page(5, 1, 1);
  PageAppend bad = page.Append();
  bad.crc ^= 1;
  EXPECT_EQ(AppendOne(bad), Outcome::kBadCrc);
  bad = page.Append();
  bad.page = PageNumber(2);  // the bytes of another page
  EXPECT_EQ(AppendOne(bad), Outcome::kBadCrc);
  bad = page.Append();
  bad.bytes += 8;
  EXPECT_TRUE(absl::IsInvalidArgument(log_->Append({&bad, 1}, [](auto) { FAIL(); })));
  bad = page.Append();
  bad.version = Version(0);
  EXPECT_TRUE(absl::IsInvalidArgument(log_->Append({&bad, 1}, [](auto) { FAIL(); })));
  EXPECT_EQ(Held(5, 1), 0U);
}

TEST_F(ReplicaLogTest, UnknownAndEndedSpacesTakeNothing) {
  EXPECT_EQ(AppendOne(TestPage(6, 1, 1).Append()), Outcome::kUnknownSpace);
  EXPECT_EQ(AppendOne(TestPage(5, 1, 1).Append()), Outcome::kTaken);
  EXPECT_EQ(End(5).outcome, Outcome::kTaken);
  EXPECT_EQ(AppendOne(TestPage(5, 1, 2).Append()), Outcome::kEnded);
  EXPECT_EQ(Open(5, Opening(2)).outcome, Outcome::kEnded);
  EXPECT_EQ(Fence(5, 3).outcome, Outcome::kEnded);
  EXPECT_EQ(End(5).outcome, Outcome::kAlready);
  EXPECT_EQ(Held(5, 1), 0U);
  Restart();
  EXPECT_EQ(AppendOne(TestPage(5, 1, 2).Append()), Outcome::kEnded);
  EXPECT_EQ(Held(5, 1), 0U);
}

TEST_F(ReplicaLogTest, AFenceShutsOutTheOldEpochForEver) {
  EXPECT_EQ(AppendOne(TestPage(5, 1, 1).Append(1)), Outcome::kTaken);
  const SpaceAnswer fenced = Fence(5, 2);
  EXPECT_EQ(fenced.outcome, Outcome::kTaken);
  EXPECT_EQ(fenced.epoch, Epoch(2));
  EXPECT_EQ(fenced.view, 1U);
  const AppendResult stale = Append({TestPage(5, 1, 2).Append(1)})[0];
  EXPECT_EQ(stale.outcome, Outcome::kStaleEpoch);
  EXPECT_EQ(stale.epoch, Epoch(2));
  EXPECT_EQ(AppendOne(TestPage(5, 1, 2).Append(3)), Outcome::kFutureEpoch);
  EXPECT_EQ(Trim(5, 0, 9, 9, 1).outcome, Outcome::kStaleEpoch);
  EXPECT_EQ(End(5, 1).outcome, Outcome::kStaleEpoch);
  Restart();
  EXPECT_EQ(AppendOne(TestPage(5, 1, 2).Append(1)), Outcome::kStaleEpoch);
  EXPECT_EQ(Held(5, 1), 1U);
  EXPECT_EQ(Fence(5, 2).outcome, Outcome::kTaken) << "the same owner may ask again";
  EXPECT_EQ(Fence(5, 2, {NodeId(9), Incarnation(9)}).outcome, Outcome::kStaleEpoch);
  EXPECT_EQ(Open(5, Opening(2, 4)).outcome, Outcome::kTaken) << "the new home opens under the fenced epoch";
  EXPECT_EQ(Open(5, Opening(2, 3)).outcome, Outcome::kStaleView);
}

TEST_F(ReplicaLogTest, AFenceThatIsAcceptedBindsBeforeItIsDurable) {
  disk_->set_auto_complete(false);
  std::optional<SpaceAnswer> fenced;
  ASSERT_TRUE(log_->Fence(SpaceId(5), Epoch(2), kPnode, [&](const SpaceAnswer& a) { fenced = a; }).ok());
  std::optional<Outcome> stale;
  const TestPage page(5, 1, 1);
  const PageAppend append = page.Append(1);
  ASSERT_TRUE(log_->Append({&append, 1}, [&](auto r) { stale = r[0].outcome; }).ok());
  ASSERT_TRUE(log_->Poll().ok());
  EXPECT_EQ(stale, Outcome::kStaleEpoch);
  EXPECT_FALSE(fenced.has_value());
}

TEST_F(ReplicaLogTest, ATrimHidesUpToItsVersionAlsoWhatComesLate) {
  EXPECT_EQ(AppendOne(TestPage(5, 10, 3).Append()), Outcome::kTaken);
  EXPECT_EQ(AppendOne(TestPage(5, 11, 9).Append()), Outcome::kTaken);
  EXPECT_EQ(Trim(5, 10, 2, 5).outcome, Outcome::kTaken);
  EXPECT_EQ(Held(5, 10), 0U);
  EXPECT_EQ(Held(5, 11), 9U) << "above the trim's version";
  EXPECT_EQ(AppendOne(TestPage(5, 10, 5).Append()), Outcome::kSuperseded);
  Restart();
  EXPECT_EQ(Held(5, 10), 0U);
  EXPECT_EQ(AppendOne(TestPage(5, 10, 4).Append()), Outcome::kSuperseded);
  EXPECT_EQ(AppendOne(TestPage(5, 10, 6).Append()), Outcome::kTaken);
  EXPECT_EQ(Held(5, 10), 6U);
}

TEST_F(ReplicaLogTest, OneCallMayTrimManyRanges) {
  EXPECT_EQ(Append({ZeroPage(5, 1, 1), ZeroPage(5, 500, 1), ZeroPage(5, 900, 1)})[2].outcome, Outcome::kTaken);
  std::vector<TrimRange> ranges;
  for (std::uint64_t i = 0; i < 126; ++i)  // more than one batch of entries
    ranges.push_back({.first = PageNumber(i * 4), .count = 2, .upto = Version(3)});
  int done = 0;
  const auto count = [&done](const SpaceAnswer& answer) { done += answer.outcome == Outcome::kTaken ? 1 : 0; };
  ASSERT_TRUE(log_->Trim(SpaceId(5), Epoch(1), ranges, count).ok());
  ASSERT_TRUE(log_->Trim(SpaceId(5), Epoch(1), ranges, count).ok());
  ASSERT_TRUE(Settle().ok());
  EXPECT_EQ(done, 2);
  EXPECT_EQ(Held(5, 1), 0U);
  EXPECT_EQ(Held(5, 500), 0U);
  EXPECT_EQ(Held(5, 900), 1U);
}

TEST_F(ReplicaLogTest, TheEraIsTheHighestSeen) {
  PageAppend append = ZeroPage(5, 1, 1);
  append.era = 8;
  EXPECT_EQ(AppendOne(append), Outcome::kTaken);
  EXPECT_EQ(Fence(5, 2).era, 8U);
  Restart();
  EXPECT_EQ(Fence(5, 2).era, 8U);
}

TEST_F(ReplicaLogTest, AnIdleLogWritesOneMark) {
  EXPECT_EQ(AppendOne(TestPage(5, 1, 1).Append()), Outcome::kTaken);
  const std::uint64_t writes = disk_->writes_completed();
  ASSERT_TRUE(log_->Poll().ok());
  EXPECT_EQ(disk_->writes_completed(), writes);
  ASSERT_TRUE(log_->NextDeadlineNs().has_value());
  clock_.Advance(absl::Milliseconds(50));
  EXPECT_LE(*log_->NextDeadlineNs(), clock_.NowNs());
  ASSERT_TRUE(log_->Poll().ok());
  ASSERT_TRUE(Settle().ok());
  EXPECT_EQ(disk_->writes_completed(), writes + 1);
  EXPECT_FALSE(log_->NextDeadlineNs().has_value());
  clock_.Advance(absl::Seconds(9));
  ASSERT_TRUE(log_->Poll().ok());
  ASSERT_TRUE(Settle().ok());
  EXPECT_EQ(disk_->writes_completed(), writes + 1) << "a mark needs no mark";
}

TEST_F(ReplicaLogTest, AFailedWriteIsRewrittenElsewhereAndThenAnswered) {
  EXPECT_EQ(AppendOne(TestPage(5, 1, 1).Append()), Outcome::kTaken);
  disk_->FailNextWrites(1);
  EXPECT_EQ(AppendOne(TestPage(5, 2, 1).Append()), Outcome::kTaken);
  EXPECT_EQ(Stat("write_errors_total"), 1U);
  EXPECT_EQ(AppendOne(TestPage(5, 3, 1).Append()), Outcome::kTaken);
  for (int start = 0; start < 3; ++start) {
    Restart();
    for (std::uint64_t page = 1; page <= 3; ++page) EXPECT_EQ(Held(5, page), 1U);
  }
}

TEST_F(ReplicaLogTest, WritesInFlightBehindAFailedOneAreRewrittenInOrder) {
  disk_->set_auto_complete(false);
  std::deque<TestPage> pages;
  std::vector<std::uint64_t> answered;
  for (std::uint64_t call = 0; call < 3; ++call) {
    std::vector<PageAppend> batch;
    for (std::uint64_t i = 0; i < 20; ++i) batch.push_back(pages.emplace_back(5, i, 1 + call).Append());
    for (std::uint64_t i = 0; i < 20; ++i) batch.push_back(ZeroPage(5, 100 + i, 1 + call));
    ASSERT_TRUE(log_->Append(batch, [&answered, call](auto) { answered.push_back(call); }).ok());
    ASSERT_TRUE(log_->Poll().ok());
  }
  ASSERT_EQ(disk_->pending_writes(), 3U);
  disk_->Complete(1, EIO);
  ASSERT_TRUE(log_->Poll().ok());
  disk_->Complete(0);
  disk_->Complete(0);
  ASSERT_TRUE(log_->Poll().ok());
  EXPECT_EQ(answered, (std::vector<std::uint64_t>{0}));
  ASSERT_EQ(disk_->pending_writes(), 2U);
  disk_->set_auto_complete(true);
  ASSERT_TRUE(Settle().ok());
  EXPECT_EQ(answered, (std::vector<std::uint64_t>{0, 1, 2}));
  Restart();
  for (std::uint64_t i = 0; i < 20; ++i) EXPECT_EQ(Held(5, i), 3U);
}

TEST_F(ReplicaLogTest, ASecondFailureInARowIsTheEnd) {
  disk_->FailNextWrites(2);
  const TestPage page(5, 1, 1);
  const PageAppend append = page.Append();
  ASSERT_TRUE(log_->Append({&append, 1}, [](auto) { FAIL() << "never acknowledged"; }).ok());
  EXPECT_TRUE(absl::IsDataLoss(Settle()));
  EXPECT_TRUE(absl::IsDataLoss(log_->Poll()));
  EXPECT_TRUE(absl::IsDataLoss(log_->Append({&append, 1}, [](auto) { FAIL(); })));
}

TEST_F(ReplicaLogTest, AFullQueuePushesBack) {
  disk_->set_auto_complete(false);
  log_.reset();
  LogOptions options = TestOptions();
  options.queue_bytes = 4 * kPageBytes;
  auto device = std::make_unique<SimDisk>(&medium_);
  disk_ = device.get();
  log_ = *ReplicaLog::Open(options, std::move(device), clock_);
  disk_->set_auto_complete(false);
  std::deque<TestPage> pages;
  int done = 0;
  for (std::uint64_t i = 0; i < 4; ++i) {
    const PageAppend append = pages.emplace_back(5, i, 1).Append();
    ASSERT_TRUE(log_->Append({&append, 1}, [&](auto) { ++done; }).ok());
  }
  const PageAppend append = pages.emplace_back(5, 9, 1).Append();
  EXPECT_TRUE(absl::IsResourceExhausted(log_->Append({&append, 1}, [](auto) { FAIL(); })));
  disk_->set_auto_complete(true);
  ASSERT_TRUE(Settle().ok());
  EXPECT_EQ(done, 4);
  EXPECT_EQ(AppendOne(append), Outcome::kTaken);
}

TEST_F(ReplicaLogTest, ManyRestartsCostNoSpace) {
  EXPECT_EQ(AppendOne(TestPage(5, 1, 1).Append()), Outcome::kTaken);
  for (int i = 0; i < 100; ++i) Restart();
  EXPECT_EQ(Held(5, 1), 1U);
  EXPECT_GE(Stat("segments", "state=free"), 5U);
}

// --- starts that must be refused, each with words ---

TEST_F(ReplicaLogTest, AnotherNodesStoreIsRefused) {
  log_.reset();
  LogOptions options = TestOptions();
  options.store.node = NodeId(78);
  EXPECT_TRUE(
      absl::IsFailedPrecondition(ReplicaLog::Open(options, std::make_unique<SimDisk>(&medium_), clock_).status()));
}

TEST_F(ReplicaLogTest, CapacityMayGrowButNotShrink) {
  EXPECT_EQ(AppendOne(TestPage(5, 1, 1).Append()), Outcome::kTaken);
  EXPECT_TRUE(absl::IsFailedPrecondition(TryStart(7)));
  ASSERT_TRUE(TryStart(10).ok());
  EXPECT_EQ(Held(5, 1), 1U);
  EXPECT_EQ(Stat("log_capacity_bytes"), 10 * kTestSegmentBytes);
}

TEST_F(ReplicaLogTest, SuperblockCopiesAreBelievedByCrcAndSequence) {
  ASSERT_EQ(medium_.superblocks[1].size(), disk::kBlockBytes);  // sequence 1: made; 2: segments counted
  medium_.superblocks[1][40] ^= std::byte{1};
  EXPECT_TRUE(TryStart().ok()) << "the newest copy is good";
  medium_.superblocks[2][40] ^= std::byte{1};
  EXPECT_TRUE(absl::IsDataLoss(TryStart())) << "none is";
}

TEST_F(ReplicaLogTest, AMissingSegmentIsRefused) {
  medium_.segments.erase(3);
  EXPECT_TRUE(absl::IsDataLoss(TryStart()));
}

class DamagedLog : public LogFixture {
 protected:
  // Batches: mark, open, three pages (each its own batch); all but the last proven acknowledged.
  void SetUp() override {
    Start();
    ASSERT_EQ(Open(5, Opening(1)).outcome, Outcome::kTaken);
    for (std::uint64_t page = 1; page <= 3; ++page)
      ASSERT_EQ(AppendOne(TestPage(5, page, 1).Append()), Outcome::kTaken);
    segment_ = &medium_.segments.at(0);
    log_.reset();
  }
  std::byte& At(std::size_t block, std::size_t byte = 0) { return (*segment_)[block * disk::kBlockBytes + byte]; }
  // Block 0 the mark, 1–2 the open, 3–4, 5–6 and 7–8 the pages.
  std::vector<std::byte>* segment_ = nullptr;
};

TEST_F(DamagedLog, ABadHeaderInTheMiddleIsNamedCopiedAndSurvived) {
  At(3, 60) ^= std::byte{1};
  Start();
  EXPECT_TRUE(log_->IsSuspect(SpaceId(5))) << "which pages that batch had nobody knows";
  EXPECT_EQ(Stat("suspect_spaces"), 1U);
  EXPECT_EQ(Held(5, 1), 0U);
  EXPECT_EQ(Held(5, 2), 1U);
  EXPECT_EQ(Held(5, 3), 1U);
  ASSERT_EQ(medium_.quarantine.size(), 1U);
  EXPECT_EQ(medium_.quarantine.begin()->first, "corrupt-seg-00000000-generation-1-block-3");
  EXPECT_EQ(medium_.quarantine.begin()->second.size(), 2 * disk::kBlockBytes);
  EXPECT_EQ(AppendOne(TestPage(5, 1, 1).Append()), Outcome::kTaken) << "the home sends it again";
  log_->ClearSuspect(SpaceId(5));
  EXPECT_EQ(Stat("suspect_spaces"), 0U);
}

TEST_F(DamagedLog, ATornLastBatchIsVoidAndNeverComesBack) {
  const std::byte saved = At(8, 5);
  At(8, 5) ^= std::byte{1};
  Start();
  EXPECT_EQ(Held(5, 2), 1U);
  EXPECT_EQ(Held(5, 3), 0U);
  EXPECT_FALSE(log_->IsSuspect(SpaceId(5))) << "a crash can do that";
  ASSERT_EQ(medium_.quarantine.size(), 1U);
  EXPECT_EQ(medium_.quarantine.begin()->first, "unsettled-seg-00000000-generation-1-block-7");
  At(8, 5) = saved;  // even if the disk changes its mind
  Restart();
  EXPECT_EQ(Held(5, 3), 0U);
  EXPECT_EQ(Held(5, 2), 1U);
}

TEST_F(DamagedLog, ATornBatchThatAMarkProvesAcknowledgedIsDamage) {
  Start();
  EXPECT_EQ(AppendOne(TestPage(5, 4, 1).Append()), Outcome::kTaken);  // its header covers the earlier ones
  log_.reset();
  std::fill(segment_->end() - 4 * disk::kBlockBytes, segment_->end(), std::byte{0});  // and the start's footer is gone
  At(7, 60) ^= std::byte{1};
  Start();
  EXPECT_TRUE(log_->IsSuspect(SpaceId(5)));
  EXPECT_EQ(Held(5, 3), 0U);
  EXPECT_EQ(Held(5, 4), 1U) << "what stands behind the damage was acknowledged too";
}

TEST_F(DamagedLog, ADamagedOpenRecordKeepsItsEpoch) {
  At(2, 20) ^= std::byte{1};
  Start();
  EXPECT_TRUE(log_->IsSuspect(SpaceId(5)));
  EXPECT_EQ(Held(5, 1), 1U);
  EXPECT_EQ(Fence(5, 1, {NodeId(9), Incarnation(9)}).outcome, Outcome::kStaleEpoch) << "the owner is not known any more";
  EXPECT_EQ(Fence(5, 2).outcome, Outcome::kTaken);
  EXPECT_EQ(AppendOne(TestPage(5, 1, 2).Append(2)), Outcome::kTaken);
}

TEST_F(DamagedLog, ADamagedPageIsDataLossWhenReadNeverOtherBytes) {
  At(4, 100) ^= std::byte{1};
  Start();
  std::array<std::byte, kPageBytes> bytes;
  EXPECT_TRUE(absl::IsDataLoss(log_->ReadPage(SpaceId(5), PageNumber(1), bytes).status()));
  EXPECT_EQ(Held(5, 2), 1U);
}

TEST_F(DamagedLog, AnotherStoresSegmentIsRefused) {
  SimMedium other_medium;
  auto device = std::make_unique<SimDisk>(&other_medium);
  ASSERT_TRUE(ReplicaLog::Open(TestOptions(), std::move(device), clock_).ok());
  medium_.segments[4] = other_medium.segments[0];
  EXPECT_TRUE(absl::IsDataLoss(TryStart()));
}

TEST_F(DamagedLog, AMisdirectedSegmentIsRefused) {
  medium_.segments[4] = medium_.segments[0];
  EXPECT_TRUE(absl::IsDataLoss(TryStart()));
}

TEST_F(DamagedLog, ALostSegmentWithTheOpensIsDamage) {
  Start();  // a second segment, so that the first is not the last
  EXPECT_EQ(AppendOne(TestPage(5, 9, 1).Append()), Outcome::kTaken);
  log_.reset();
  std::fill(segment_->begin(), segment_->end(), std::byte{0});
  Start();
  EXPECT_TRUE(log_->IsSuspect(SpaceId(5)));
  EXPECT_EQ(AppendOne(TestPage(5, 9, 2).Append()), Outcome::kUnknownSpace) << "until its home opens it again";
  EXPECT_EQ(Open(5, Opening(1)).outcome, Outcome::kTaken);
  EXPECT_EQ(Held(5, 9), 1U);
}

TEST_F(DamagedLog, PagesThatLookLikeHeadersAreOnlyData) {
  Start();
  TestPage copy(5, 50, 1);
  std::memcpy(const_cast<std::byte*>(copy.bytes().data()), segment_->data() + 3 * disk::kBlockBytes, kPageBytes);
  PageAppend append = copy.Append();
  append.crc = copy.crc();
  EXPECT_EQ(AppendOne(append), Outcome::kTaken);
  log_.reset();
  Start();
  EXPECT_NE(log_->index().FindPage(SpaceId(5), PageNumber(50)), nullptr);
}

}  // namespace
}  // namespace ashlar::snode
