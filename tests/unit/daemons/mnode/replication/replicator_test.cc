#include "daemons/mnode/replication/replicator.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/crc32c.h"
#include "tests/unit/daemons/fit_fakes.h"

namespace ashlar::mnode {
namespace {

namespace wire = fit::wire;
using fit::Code;
using wire::Opcode;
constexpr SpaceId kSpace(5);
constexpr SpaceOwner kOwner{NodeId(1), Incarnation(10)};

struct Outcomes : BatchOwner {
  void OnAppended(Batch& batch, const AppendOutcome& outcome) override {
    codes.push_back(outcome.code);
    page_codes.clear();
    for (const Batch::Page& page : batch.pages()) page_codes.push_back(page.code);
  }
  std::vector<Code> codes;
  std::vector<Code> page_codes;  // of the last one
};

class ReplicatorTest : public testing::Test {
 protected:
  ReplicatorTest() {
    auto connection = std::make_unique<fakes::Connection>();
    link_ = connection.get();
    replicator_->Attach(std::move(connection));
  }
  void Up(std::uint64_t incarnation) { replicator_->OnUp(Incarnation(incarnation), 1); }
  Space& NewSpace() {
    Space& space = spaces_.Create(kSpace, kOwner, Epoch(1));
    EXPECT_TRUE(space.MapExtent(0).ok());
    replicator_->AddSpace(space);
    return space;
  }
  void Open() { link_->Answer(link_->Find(Opcode::kOpenSpace), Code::kOk, fakes::Bytes().Put(wire::FenceReply{.epoch = 1})); }
  Space& NewOpenSpace() {
    Up(100);
    Space& space = NewSpace();
    Open();
    return space;
  }
  // Stores one version of each page and appends them as one batch.
  void Write(Space& space, std::initializer_list<std::uint64_t> pages, std::uint64_t version) {
    Batch* batch = buffers_->Take(space.id());
    ASSERT_NE(batch, nullptr);
    for (std::uint64_t page : pages) {
      const std::span<std::byte> bytes = batch->NextPageBuffer();
      std::fill(bytes.begin(), bytes.end(), std::byte(version));
      const PageVersion v{PageNumber(page), Version(version), PageCrc32c(space.id(), PageNumber(page), Version(version), bytes)};
      space.Store(v, bytes);
      batch->Add(v, true);
    }
    replicator_->Append(*batch, {shard_.clock.NowNs() + 1'000'000'000}, outcomes_);
  }
  // The snode takes the oldest append: every page gets `code` at level disk.
  void AnswerAppend(Code code = Code::kOk) {
    const std::size_t i = link_->Find(Opcode::kAppendPages);
    const auto head = fakes::ReadAt<wire::AppendHead>(link_->calls[i].payload, 0);
    fakes::Bytes reply;
    reply.Put(wire::ListReply{.next = head.ticket, .count = head.count, .flags = 0});
    for (std::uint32_t p = 0; p < head.count; ++p) {
      const auto page = fakes::ReadAt<wire::PageAppend>(link_->calls[i].payload, sizeof(head) + p * sizeof(wire::PageAppend));
      reply.Put(wire::PageResult{.page = page.page, .stored_version = page.version, .code = std::uint32_t(code), .level = 2});
    }
    link_->Answer(i, Code::kOk, reply);
  }
  wire::TrimRange Range(std::uint64_t first, std::uint64_t count, std::uint64_t up_to) { return {first, count, up_to, 0}; }

  fakes::Shard shard_;
  std::unique_ptr<Pool> pool_ = *Pool::Create(4 * kExtentBytes, Mapping::HugePages::kNo);
  SpaceTable spaces_{*pool_};
  std::unique_ptr<BatchBuffers> buffers_ = *BatchBuffers::Create(shard_, 16 * BatchBuffers::kBatchBytes);
  Outcomes outcomes_;
  fakes::Connection* link_ = nullptr;
  std::unique_ptr<Replicator> replicator_ = std::make_unique<Replicator>(
      shard_, spaces_, *buffers_, ReplicatorOptions{.snode = "s1", .max_appends = 3, .max_catch_up = 1, .max_trims = 300}, shard_.clock);
};

TEST_F(ReplicatorTest, TheSpaceIsOpenedBeforeItsFirstAppend) {
  Space& space = NewSpace();
  Write(space, {1}, 1);
  EXPECT_TRUE(link_->calls.empty()) << "no link yet";
  Up(100);
  ASSERT_EQ(link_->calls.size(), 1u);
  const auto open = fakes::ReadAt<wire::OpenRequest>(link_->calls[0].payload, 0);
  EXPECT_EQ(open.space, kSpace.value());
  EXPECT_EQ(open.epoch, 1u);
  EXPECT_EQ(open.owner_node, kOwner.node.value());
  EXPECT_EQ(open.owner_incarnation, kOwner.incarnation.value());
  Open();
  EXPECT_EQ(link_->Count(Opcode::kAppendPages), 1u);
}

TEST_F(ReplicatorTest, AnAcknowledgedBatchMakesItsFramesDurable) {
  Space& space = NewOpenSpace();
  Write(space, {1, 2}, 1);
  const auto& call = link_->calls.at(0);
  EXPECT_EQ(call.bulk.size(), 2 * kPageBytes);
  const auto page = fakes::ReadAt<wire::PageAppend>(call.payload, sizeof(wire::AppendHead) + sizeof(wire::PageAppend));
  EXPECT_EQ(page.page, 2u);
  EXPECT_EQ(page.bulk_index, 1u);
  EXPECT_TRUE(outcomes_.codes.empty()) << "not before the snode answered";
  EXPECT_EQ(replicator_->StateOf(kSpace), SlotState::kCopying);
  AnswerAppend();
  EXPECT_THAT(outcomes_.codes, testing::ElementsAre(Code::kOk));
  EXPECT_TRUE(space.Find(PageNumber(1))->durable);
  EXPECT_EQ(replicator_->StateOf(kSpace), SlotState::kCurrent);
  EXPECT_EQ(buffers_->free_count(), buffers_->count());
}

TEST_F(ReplicatorTest, AReplyThatNamesOtherPagesMakesNothingDurable) {
  Space& space = NewOpenSpace();
  Write(space, {1}, 1);
  fakes::Bytes reply;
  reply.Put(wire::ListReply{.count = 1}).Put(wire::PageResult{.page = 7, .stored_version = 1, .code = 0, .level = 2});
  link_->Answer(0, Code::kOk, reply);
  EXPECT_THAT(outcomes_.page_codes, testing::ElementsAre(Code::kUnavailable));
  EXPECT_FALSE(space.Find(PageNumber(1))->durable);
}

TEST_F(ReplicatorTest, LevelMemoryAtTheSnodeIsNotDurable) {
  Space& space = NewOpenSpace();
  Write(space, {1}, 1);
  fakes::Bytes reply;
  reply.Put(wire::ListReply{.count = 1}).Put(wire::PageResult{.page = 1, .stored_version = 1, .code = 0, .level = 1});
  link_->Answer(0, Code::kOk, reply);
  EXPECT_FALSE(space.Find(PageNumber(1))->durable);
}

TEST_F(ReplicatorTest, OnlySoManyAppendsAreUnderWay) {
  Space& space = NewOpenSpace();
  for (std::uint64_t page = 0; page < 5; ++page) Write(space, {page}, 1);
  EXPECT_EQ(link_->Count(Opcode::kAppendPages), 3u);
  AnswerAppend();
  EXPECT_EQ(link_->Count(Opcode::kAppendPages), 3u);
  for (int i = 0; i < 4; ++i) AnswerAppend();
  EXPECT_EQ(outcomes_.codes.size(), 5u);
}

TEST_F(ReplicatorTest, ABatchWithoutALinkEndsUnavailableAtItsDeadline) {
  Space& space = NewSpace();
  Write(space, {1}, 1);
  shard_.Advance(absl::Milliseconds(900));
  EXPECT_TRUE(outcomes_.codes.empty());
  shard_.Advance(absl::Milliseconds(150));
  EXPECT_THAT(outcomes_.codes, testing::ElementsAre(Code::kUnavailable));
  EXPECT_EQ(buffers_->free_count(), buffers_->count());
}

TEST_F(ReplicatorTest, APageWhoseAppendFailedIsCaughtUpFromItsFrame) {
  Space& space = NewOpenSpace();
  Write(space, {1, 2}, 1);
  link_->Lose(0);
  EXPECT_THAT(outcomes_.codes, testing::ElementsAre(Code::kUnavailable));
  EXPECT_TRUE(link_->calls.empty()) << "it backs off first";
  shard_.Advance(absl::Milliseconds(100));
  ASSERT_EQ(link_->Count(Opcode::kAppendPages), 1u);
  EXPECT_EQ(link_->calls[0].bulk.size(), 2 * kPageBytes);
  EXPECT_EQ(link_->calls[0].bulk[0], std::byte{1});
  AnswerAppend();
  EXPECT_TRUE(space.Find(PageNumber(1))->durable);
  EXPECT_EQ(outcomes_.codes.size(), 1u) << "nobody waits for it";
  EXPECT_EQ(replicator_->StateOf(kSpace), SlotState::kCurrent);
}

TEST_F(ReplicatorTest, ARestartedSnodeIsOpenedAgainBeforeAppends) {
  Space& space = NewOpenSpace();
  replicator_->OnDown(absl::UnavailableError("test"));
  EXPECT_EQ(replicator_->StateOf(kSpace), SlotState::kSuspect);
  Write(space, {1}, 1);
  EXPECT_TRUE(link_->calls.empty());
  Up(101);
  EXPECT_EQ(link_->Count(Opcode::kOpenSpace), 1u);
  EXPECT_EQ(link_->Count(Opcode::kAppendPages), 0u);
  Open();
  AnswerAppend();
  EXPECT_THAT(outcomes_.codes, testing::ElementsAre(Code::kOk));
}

TEST_F(ReplicatorTest, AReconnectToTheSameSnodeGoesOn) {
  Space& space = NewOpenSpace();
  replicator_->OnDown(absl::UnavailableError("test"));
  Write(space, {1}, 1);
  Up(100);
  EXPECT_EQ(link_->Count(Opcode::kOpenSpace), 0u);
  EXPECT_EQ(link_->Count(Opcode::kAppendPages), 1u);
}

TEST_F(ReplicatorTest, ASnodeThatForgotTheSpaceIsAskedToOpenIt) {
  Space& space = NewOpenSpace();
  Write(space, {1}, 1);
  link_->Answer(0, Code::kNotFound);
  shard_.Advance(absl::Milliseconds(100));
  Open();
  AnswerAppend();
  EXPECT_TRUE(space.Find(PageNumber(1))->durable);
}

TEST_F(ReplicatorTest, APageThatTheSnodeDoesNotTakeIsTriedAgainWithBackOff) {
  Space& space = NewOpenSpace();
  Write(space, {1, 2}, 1);
  AnswerAppend(Code::kDataLoss);
  EXPECT_TRUE(link_->calls.empty()) << "not at once, and not for ever in a circle";
  shard_.Advance(absl::Milliseconds(100));
  AnswerAppend(Code::kDataLoss);
  shard_.Advance(absl::Milliseconds(70));
  EXPECT_TRUE(link_->calls.empty()) << "longer each time";
  shard_.Advance(absl::Milliseconds(100));
  AnswerAppend();
  EXPECT_TRUE(space.Find(PageNumber(1))->durable);
}

TEST_F(ReplicatorTest, AForgottenSpaceSaidPerPageIsOpenedAgain) {
  Space& space = NewOpenSpace();
  Write(space, {1}, 1);
  AnswerAppend(Code::kNotFound);
  EXPECT_THAT(outcomes_.page_codes, testing::ElementsAre(Code::kNotFound));
  shard_.Advance(absl::Milliseconds(100));
  Open();
  AnswerAppend();
  EXPECT_TRUE(space.Find(PageNumber(1))->durable);
}

TEST_F(ReplicatorTest, TrimsRefusedAsMalformedAreNotRepeatedForEver) {
  NewOpenSpace();
  ASSERT_TRUE(replicator_->AddTrims(kSpace, std::array{Range(0, 2, 5)}));
  link_->Answer(link_->Find(Opcode::kTrim), Code::kMalformed);
  shard_.Advance(absl::Seconds(5));
  EXPECT_TRUE(link_->calls.empty());
}

TEST_F(ReplicatorTest, AFencedSpaceIsLeftAlone) {
  Space& space = NewOpenSpace();
  Write(space, {1}, 1);
  link_->Answer(0, Code::kStaleEpoch);
  EXPECT_THAT(outcomes_.codes, testing::ElementsAre(Code::kUnavailable));
  EXPECT_EQ(replicator_->StateOf(kSpace), SlotState::kFenced);
  shard_.Advance(absl::Seconds(10));
  EXPECT_TRUE(link_->calls.empty());
}

TEST_F(ReplicatorTest, AFullSnodeIsPassedOnWithItsHint) {
  Space& space = NewOpenSpace();
  Write(space, {1}, 1);
  link_->Answer(0, Code::kExhausted, {}, {}, {.retry_after_ms = 500});
  EXPECT_THAT(outcomes_.codes, testing::ElementsAre(Code::kExhausted));
  shard_.Advance(absl::Milliseconds(450));
  EXPECT_TRUE(link_->calls.empty());
  shard_.Advance(absl::Milliseconds(100));
  EXPECT_EQ(link_->Count(Opcode::kAppendPages), 1u);
}

TEST_F(ReplicatorTest, ATrimStaysBehindTheAppendsBeforeItAndNotBehindLaterOnes) {
  Space& space = NewOpenSpace();
  Write(space, {1}, 1);
  ASSERT_TRUE(replicator_->AddTrims(kSpace, std::array{Range(0, 2, 5)}));
  Write(space, {2}, 1);
  EXPECT_EQ(link_->Count(Opcode::kTrim), 0u);
  EXPECT_EQ(link_->Count(Opcode::kAppendPages), 2u);
  AnswerAppend();  // of page 1
  ASSERT_EQ(link_->Count(Opcode::kTrim), 1u);
  const auto& call = link_->calls[link_->Find(Opcode::kTrim)];
  EXPECT_EQ(fakes::ReadAt<wire::SpaceList>(call.payload, 0).count, 1u);
  EXPECT_EQ(fakes::ReadAt<wire::TrimRange>(call.payload, sizeof(wire::SpaceList)).up_to_version, 5u);
}

TEST_F(ReplicatorTest, TrimsAreRepeatedUntilConfirmedAndBounded) {
  NewOpenSpace();
  std::vector<wire::TrimRange> ranges(200, Range(0, 1, 1));
  ASSERT_TRUE(replicator_->AddTrims(kSpace, ranges));
  EXPECT_FALSE(replicator_->AddTrims(kSpace, ranges)) << "the bound is 300";
  ASSERT_EQ(link_->Count(Opcode::kTrim), 1u);
  EXPECT_EQ(fakes::ReadAt<wire::SpaceList>(link_->calls[0].payload, 0).count, wire::kMaxTrimRanges);
  link_->Lose(0);
  shard_.Advance(absl::Milliseconds(100));
  ASSERT_EQ(link_->Count(Opcode::kTrim), 1u);
  link_->Answer(0, Code::kOk);
  ASSERT_EQ(link_->Count(Opcode::kTrim), 1u);
  EXPECT_EQ(fakes::ReadAt<wire::SpaceList>(link_->calls[0].payload, 0).count, 200 - wire::kMaxTrimRanges);
  link_->Answer(0, Code::kOk);
  EXPECT_TRUE(link_->calls.empty());
}

TEST_F(ReplicatorTest, TheEndGoesBehindEverythingAndIsRepeatedUntilConfirmed) {
  Space& space = NewOpenSpace();
  Write(space, {1}, 1);
  std::vector<bool> done;
  for (ExtentIndex extent : space.UnmapAll()) pool_->Release(extent);
  spaces_.End(kSpace);
  replicator_->EndSpace(kSpace, Epoch(1), {shard_.clock.NowNs() + 200'000'000}, [&](bool ok) { done.push_back(ok); });
  EXPECT_EQ(link_->Count(Opcode::kDestroySpace), 0u);
  AnswerAppend();
  ASSERT_EQ(link_->Count(Opcode::kDestroySpace), 1u);
  link_->Lose(0);
  shard_.Advance(absl::Milliseconds(300));
  EXPECT_THAT(done, testing::ElementsAre(false)) << "its caller is told in time";
  ASSERT_EQ(link_->Count(Opcode::kDestroySpace), 1u) << "and trying goes on";
  replicator_->EndSpace(kSpace, Epoch(1), {shard_.clock.NowNs() + 200'000'000}, [&](bool ok) { done.push_back(ok); });
  link_->Answer(0, Code::kOk);
  EXPECT_THAT(done, testing::ElementsAre(false, true));
  EXPECT_TRUE(link_->calls.empty());
  StatList stats;
  replicator_->CollectStats(stats);
  for (const Stat& stat : stats.values)
    if (stat.name == "degraded_spaces") { EXPECT_EQ(stat.value, 0u); }
}

TEST_F(ReplicatorTest, AnUnknownSpaceIsEndedAtTheSnodeToo) {
  Up(100);
  bool done = false;
  replicator_->EndSpace(SpaceId(77), Epoch(1), {shard_.clock.NowNs() + 1'000'000'000}, [&](bool ok) { done = ok; });
  link_->Answer(link_->Find(Opcode::kDestroySpace), Code::kNotFound);
  EXPECT_TRUE(done);
}

TEST_F(ReplicatorTest, LeavingASpaceEndsItHereAndNotThere) {
  Space& space = NewOpenSpace();
  Write(space, {1}, 1);
  replicator_->LeaveSpace(kSpace);
  AnswerAppend();
  EXPECT_TRUE(link_->calls.empty());
  EXPECT_EQ(replicator_->StateOf(kSpace), SlotState::kEmpty);
}

TEST_F(ReplicatorTest, AFullFitQueueOnlyDelays) {
  Space& space = NewOpenSpace();
  link_->refuse_start = true;
  Write(space, {1}, 1);
  EXPECT_TRUE(link_->calls.empty());
  link_->refuse_start = false;
  shard_.Advance(absl::Milliseconds(50));
  EXPECT_EQ(link_->Count(Opcode::kAppendPages), 1u);
}

TEST_F(ReplicatorTest, ItsEndTellsTheOwnersOfWaitingBatches) {
  Space& space = NewOpenSpace();
  for (std::uint64_t page = 0; page < 5; ++page) Write(space, {page}, 1);
  replicator_.reset();
  EXPECT_EQ(outcomes_.codes.size(), 5u);
  EXPECT_EQ(buffers_->free_count(), buffers_->count());
}

}  // namespace
}  // namespace ashlar::mnode
