#include "daemons/mnode/memory_service.h"

#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/crc32c.h"
#include "tests/unit/daemons/fit_fakes.h"

namespace ashlar::mnode {
namespace {

namespace wire = fit::wire;
using fakes::Answer;
using fakes::ReadAt;
using fit::Code;
using wire::Opcode;
constexpr std::uint64_t kSpace = 5;

// One page of a write-back: filled with `fill`, or a zero page.
struct Write {
  std::uint64_t page;
  std::uint64_t version;
  int fill = 1;  // 0: a zero page
  std::uint32_t crc_error = 0;
};

class MemoryServiceTest : public testing::Test {
 protected:
  void Start(std::uint32_t replicas, std::uint64_t extents = 4) {
    service_ = *MemoryService::Create(shard_, {.incarnation = Incarnation(50), .pool_bytes = extents * kExtentBytes,
                                               .huge_pages = Mapping::HugePages::kNo, .replicas = replicas,
                                               .snodes = {{.name = "s1", .node = NodeId(3)}},
                                               .intake_bytes = 4 * BatchBuffers::kBatchBytes,
                                               .absent_ns = 10'000'000'000}, shard_.clock);
    if (replicas == 0) return;
    auto connection = std::make_unique<fakes::Connection>();
    link_ = connection.get();
    service_->replicas()->member(0).Attach(std::move(connection));
    service_->replicas()->member(0).OnUp(Incarnation(100), 1);
  }
  std::shared_ptr<Answer> Call(Opcode opcode, std::span<const std::byte> payload, std::span<const std::byte> bulk = {},
                               std::shared_ptr<fakes::Session> session = nullptr) {
    auto answer = std::make_shared<Answer>();
    const fit::RequestView request{.opcode = opcode, .payload = payload, .bulk = bulk,
                                   .deadline = {shard_.clock.NowNs() + 2'000'000'000},
                                   .session = session != nullptr ? session : session_};
    service_->Handle(request, fit::ReplyWriter(std::make_unique<fakes::ReplyImpl>(answer)));
    return answer;
  }
  static wire::SpaceList List(std::uint32_t count = 0, std::uint64_t epoch = 1) { return {kSpace, epoch, 0, count, 0}; }
  std::shared_ptr<Answer> Map(std::uint64_t extent, std::uint32_t count, std::uint32_t flags, std::uint64_t space = kSpace,
                              std::shared_ptr<fakes::Session> session = nullptr) {
    return Call(Opcode::kMapExtents, fakes::Bytes().Put(wire::MapRequest{space, 1, extent * kExtentPages, count, flags}), {}, session);
  }
  void NewSpace(std::uint32_t extents = 1) {
    ASSERT_EQ(Map(0, 0, 0)->code, Code::kOk);
    if (link_ != nullptr) link_->Answer(link_->Find(Opcode::kOpenSpace), Code::kOk, fakes::Bytes().Put(wire::FenceReply{.epoch = 1}));
    if (extents > 0) { ASSERT_EQ(Map(0, extents, 1)->code, Code::kOk); }
  }
  std::shared_ptr<Answer> WriteBack(std::vector<Write> writes, std::uint64_t epoch = 1) {
    wire::SpaceList head = List(static_cast<std::uint32_t>(writes.size()), epoch);
    head.flags = 2;
    fakes::Bytes payload;
    payload.Put(head);
    std::vector<std::byte> bulk;
    for (const Write& w : writes) {
      std::vector<std::byte> bytes(w.fill ? kPageBytes : 0, std::byte(w.fill));
      const std::uint32_t crc = PageCrc32c(SpaceId(kSpace), PageNumber(w.page), Version(w.version), bytes) ^ w.crc_error;
      payload.Put(wire::PageDirty{w.page, w.version, crc,
                                  w.fill ? static_cast<std::uint32_t>(bulk.size() / kPageBytes) : wire::kNoBulk});
      bulk.insert(bulk.end(), bytes.begin(), bytes.end());
    }
    return Call(Opcode::kWriteBack, payload, bulk);
  }
  static wire::PageResult Result(const Answer& answer, std::size_t i) {
    return ReadAt<wire::PageResult>(answer.payload, sizeof(wire::ListReply) + i * sizeof(wire::PageResult));
  }
  static std::uint32_t Num(Code code) { return static_cast<std::uint32_t>(code); }
  std::shared_ptr<Answer> Fetch(std::vector<std::uint64_t> pages) {
    fakes::Bytes payload;
    payload.Put(List(static_cast<std::uint32_t>(pages.size())));
    for (std::uint64_t page : pages) payload.Put(wire::PageWant{page, 1});
    return Call(Opcode::kFetchPages, payload);
  }
  static wire::PageHave Have(const Answer& answer, std::size_t i) {
    return ReadAt<wire::PageHave>(answer.payload, sizeof(wire::ListReply) + i * sizeof(wire::PageHave));
  }
  std::shared_ptr<Answer> Trim(std::uint64_t first, std::uint64_t count, std::uint64_t up_to) {
    return Call(Opcode::kTrim, fakes::Bytes().Put(List(1)).Put(wire::TrimRange{first, count, up_to, 0}));
  }
  void AnswerAppend(Code page_code = Code::kOk) {
    const std::size_t i = link_->Find(Opcode::kAppendPages);
    const auto head = ReadAt<wire::AppendHead>(link_->calls[i].payload, 0);
    fakes::Bytes reply;
    reply.Put(wire::ListReply{.next = head.ticket, .count = head.count, .flags = 0});
    for (std::uint32_t p = 0; p < head.count; ++p) {
      const auto page = ReadAt<wire::PageAppend>(link_->calls[i].payload, sizeof(head) + p * sizeof(wire::PageAppend));
      reply.Put(wire::PageResult{page.page, page.version, Num(page_code), 2});
    }
    link_->Answer(i, Code::kOk, reply);
  }
  std::uint64_t StatOf(std::string_view name) {
    StatList stats;
    service_->CollectStats(stats);
    for (const Stat& stat : stats.values)
      if (stat.name == name) return stat.value;
    ADD_FAILURE() << "no stat " << name;
    return 0;
  }

  fakes::Shard shard_;
  fakes::Connection* link_ = nullptr;
  std::shared_ptr<fakes::Session> session_ = std::make_shared<fakes::Session>(fit::Client{NodeId(1), Incarnation(10), 0});
  std::shared_ptr<fakes::Session> other_ = std::make_shared<fakes::Session>(fit::Client{NodeId(2), Incarnation(10), 0});
  std::unique_ptr<MemoryService> service_;
};

TEST_F(MemoryServiceTest, MappingGivesAWindowAndTheSameOneWhenAskedAgain) {
  Start(0);
  NewSpace(0);
  auto answer = Map(3, 2, 1);
  const auto head = ReadAt<wire::MapReply>(answer->payload, 0);
  EXPECT_EQ(head.pool_incarnation, 50u);
  ASSERT_EQ(head.count, 2u);
  const auto grant = ReadAt<wire::ExtentGrant>(answer->payload, sizeof(head));
  EXPECT_EQ(grant.first_page, 3 * kExtentPages);
  EXPECT_EQ(grant.origin, kSpace);
  EXPECT_EQ(session_->windows.at(grant.key).bytes, kExtentBytes);
  EXPECT_EQ(Map(3, 2, 1)->payload, answer->payload);
  EXPECT_EQ(Map(0, 64, 2)->payload, answer->payload) << "those there are";
  EXPECT_EQ(session_->windows.size(), 2u);
}

TEST_F(MemoryServiceTest, OnANewEndpointTheExtentsGetNewWindows) {
  Start(0);
  NewSpace(1);
  session_ = std::make_shared<fakes::Session>(session_->client());
  auto answer = Map(0, 1, 2);
  EXPECT_EQ(ReadAt<wire::MapReply>(answer->payload, 0).count, 1u);
  EXPECT_EQ(session_->windows.size(), 1u);
}

TEST_F(MemoryServiceTest, WithoutAWindowTheKeyIsZeroAndPagesCanBeFetched) {
  Start(0);
  session_->refuse = true;
  NewSpace(0);
  auto answer = Map(0, 1, 1);
  EXPECT_EQ(ReadAt<wire::ExtentGrant>(answer->payload, sizeof(wire::MapReply)).key, 0u);
  WriteBack({{3, 1, 0xAB}, {4, 1, 0}});
  auto fetched = Fetch({3, 4, 5, 9999});
  EXPECT_EQ(Have(*fetched, 0).code, Num(Code::kOk));
  EXPECT_EQ(Have(*fetched, 0).bulk_index, 0u);
  EXPECT_EQ(fetched->bulk.size(), kPageBytes);
  EXPECT_EQ(fetched->bulk[100], std::byte{0xAB});
  EXPECT_EQ(Have(*fetched, 1).code, Num(Code::kOk));
  EXPECT_EQ(Have(*fetched, 1).bulk_index, wire::kNoBulk) << "a zero page has no bytes";
  EXPECT_EQ(Have(*fetched, 2).code, Num(Code::kNotFound)) << "never written";
  EXPECT_EQ(Have(*fetched, 3).code, Num(Code::kNotFound)) << "no extent";
}

TEST_F(MemoryServiceTest, AFullPoolRefusesAndGivesAgainWhatWasUnmapped) {
  Start(0, 2);
  NewSpace(2);
  auto refused = Map(2, 1, 1);
  EXPECT_EQ(refused->code, Code::kExhausted);
  EXPECT_GT(refused->hints.retry_after_ms, 0);
  EXPECT_TRUE(refused->hints.pool_low);
  EXPECT_EQ(Call(Opcode::kUnmapExtents, fakes::Bytes().Put(List(1)).Put(wire::u64{0}))->code, Code::kOk);
  EXPECT_EQ(Map(2, 1, 1)->code, Code::kOk);
  EXPECT_EQ(StatOf("pool_used_bytes"), 2 * kExtentBytes);
}

TEST_F(MemoryServiceTest, AnExtentIsLentAgainOnlyWhenItsWindowsAreRevokedAndThenItIsZero) {
  Start(0, 1);
  NewSpace(1);
  WriteBack({{3, 1, 0xEE}});
  session_->hold_revokes = true;
  auto unmap = Call(Opcode::kUnmapExtents, fakes::Bytes().Put(List(1)).Put(wire::u64{0}));
  EXPECT_FALSE(unmap->sent);
  EXPECT_EQ(Map(0, 1, 1)->code, Code::kExhausted) << "the peer may still read it";
  session_->held[0]();
  session_->held.clear();
  EXPECT_EQ(unmap->code, Code::kOk);
  ASSERT_EQ(Map(0, 0, 0, 6, other_)->code, Code::kOk);
  auto answer = Map(0, 1, 1, 6, other_);
  const auto grant = ReadAt<wire::ExtentGrant>(answer->payload, sizeof(wire::MapReply));
  const fabric::Slice slice = other_->windows.at(grant.key);
  const auto bytes = slice.region->bytes().subspan(slice.offset, slice.bytes);
  EXPECT_TRUE(std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; }));
}

TEST_F(MemoryServiceTest, TheVersionRulePerPage) {
  Start(0);
  NewSpace(1);
  WriteBack({{1, 5, 1}, {2, 5, 1}, {3, 5, 1}, {4, 5, 1}});
  auto answer = WriteBack({{1, 6, 2}, {2, 5, 1}, {3, 4, 1}, {4, 5, 9}, {7, 1, 1, /*crc_error=*/1}});
  ASSERT_EQ(answer->code, Code::kOk);
  EXPECT_EQ(Result(*answer, 0).code, Num(Code::kOk));
  EXPECT_EQ(Result(*answer, 1).code, Num(Code::kAlready));
  EXPECT_EQ(Result(*answer, 2).code, Num(Code::kSuperseded));
  EXPECT_EQ(Result(*answer, 2).stored_version, 5u);
  EXPECT_EQ(Result(*answer, 3).code, Num(Code::kDataLoss)) << "two contents, one version";
  EXPECT_EQ(Result(*answer, 3).stored_version, 5u);
  EXPECT_EQ(Result(*answer, 4).code, Num(Code::kDataLoss)) << "damaged on the way";
  EXPECT_EQ(Result(*answer, 4).stored_version, 0u) << "which tells the two apart";
  EXPECT_EQ(Result(*answer, 0).level, 0u) << "home is all there is";
  EXPECT_EQ(Fetch({1})->bulk[0], std::byte{2});
  EXPECT_EQ(Have(*Fetch({7}), 0).code, Num(Code::kNotFound)) << "damaged bytes are not kept";
}

TEST_F(MemoryServiceTest, AWriteBackIsAnsweredWhenTheSnodeHasIt) {
  Start(1);
  NewSpace(1);
  auto answer = WriteBack({{1, 1, 1}, {2, 1, 0}});
  EXPECT_FALSE(answer->sent);
  AnswerAppend();
  ASSERT_EQ(answer->code, Code::kOk);
  EXPECT_EQ(Result(*answer, 0).level, 2u);
  EXPECT_EQ(Result(*answer, 1).level, 2u);
  EXPECT_EQ(answer->hints.write_batches, 6);
  auto again = WriteBack({{1, 1, 1}});
  ASSERT_TRUE(again->sent) << "held and durable: at once";
  EXPECT_EQ(Result(*again, 0).code, Num(Code::kAlready));
  EXPECT_EQ(Result(*again, 0).level, 2u);
}

TEST_F(MemoryServiceTest, AResendOfWhatIsNotDurableIsReplicatedBeforeTheAnswer) {
  Start(1);
  NewSpace(1);
  auto first = WriteBack({{1, 1, 1}});
  auto second = WriteBack({{1, 1, 1}});
  EXPECT_FALSE(second->sent);
  EXPECT_EQ(link_->Count(Opcode::kAppendPages), 2u);
  AnswerAppend();
  AnswerAppend(Code::kAlready);
  EXPECT_EQ(Result(*second, 0).code, Num(Code::kAlready));
  EXPECT_EQ(Result(*second, 0).level, 2u);
}

TEST_F(MemoryServiceTest, WithoutTheSnodeNothingIsAcknowledgedAndTheCallEndsInTime) {
  Start(1);
  NewSpace(1);
  service_->replicas()->member(0).OnDown(absl::UnavailableError("test"));
  auto answer = WriteBack({{1, 1, 1}});
  shard_.Advance(absl::Milliseconds(1700));
  EXPECT_FALSE(answer->sent);
  shard_.Advance(absl::Milliseconds(200));
  ASSERT_TRUE(answer->sent) << "before the caller's 2 s are over";
  EXPECT_EQ(answer->code, Code::kUnavailable);
  EXPECT_GT(answer->hints.retry_after_ms, 0);
  EXPECT_TRUE(answer->hints.degraded);
  EXPECT_EQ(StatOf("unprotected_bytes"), kPageBytes);
  service_->replicas()->member(0).OnUp(Incarnation(100), 2);
  AnswerAppend();  // caught up from the frame
  EXPECT_EQ(StatOf("unprotected_bytes"), 0u);
  EXPECT_TRUE(WriteBack({{1, 1, 1}})->sent);
}

TEST_F(MemoryServiceTest, APageTheSnodeCouldNotKeepIsNotAcknowledged) {
  Start(1);
  NewSpace(1);
  auto answer = WriteBack({{1, 1, 1}});
  AnswerAppend(Code::kDataLoss);
  EXPECT_EQ(Result(*answer, 0).code, Num(Code::kUnavailable));
}

TEST_F(MemoryServiceTest, AFullIntakeRefusesAndHintsFewerBatchesBefore) {
  Start(1);
  NewSpace(1);
  std::vector<std::shared_ptr<Answer>> answers;
  for (std::uint64_t page = 0; page < 4; ++page) answers.push_back(WriteBack({{page, 1, 1}}));
  auto refused = WriteBack({{9, 1, 1}});
  EXPECT_EQ(refused->code, Code::kExhausted);
  EXPECT_GT(refused->hints.retry_after_ms, 0);
  EXPECT_EQ(refused->hints.write_batches, 1) << "never zero";
  EXPECT_EQ(Have(*Fetch({9}), 0).code, Num(Code::kNotFound)) << "nothing of it was taken";
  for (int i = 0; i < 4; ++i) AnswerAppend();
  for (const auto& answer : answers) EXPECT_EQ(answer->code, Code::kOk);
}

TEST_F(MemoryServiceTest, TrimDropsPagesHereAndForwardsBehindTheAppends) {
  Start(1);
  NewSpace(1);
  auto write = WriteBack({{1, 1, 1}});
  EXPECT_EQ(Trim(0, 2, 5)->code, Code::kOk);
  EXPECT_EQ(Have(*Fetch({1}), 0).code, Num(Code::kNotFound));
  EXPECT_EQ(link_->Count(Opcode::kTrim), 0u);
  AnswerAppend();
  EXPECT_EQ(write->code, Code::kOk);
  EXPECT_EQ(link_->Count(Opcode::kTrim), 1u);
  auto late = WriteBack({{1, 5, 1}});
  ASSERT_TRUE(late->sent);
  EXPECT_EQ(Result(*late, 0).code, Num(Code::kSuperseded));
}

TEST_F(MemoryServiceTest, DestroyFreesTheExtentsAndIsAnsweredWhenTheSnodeKnows) {
  Start(1);
  NewSpace(2);
  auto answer = Call(Opcode::kDestroySpace, fakes::Bytes().Put(List()));
  EXPECT_EQ(StatOf("extents"), 0u);
  EXPECT_TRUE(session_->windows.empty());
  EXPECT_FALSE(answer->sent);
  link_->Answer(link_->Find(Opcode::kDestroySpace), Code::kOk);
  EXPECT_EQ(answer->code, Code::kOk);
  EXPECT_EQ(Map(0, 0, 0)->code, Code::kNotFound) << "an id is never used twice";
  EXPECT_EQ(WriteBack({{1, 1, 1}})->code, Code::kNotFound);
}

TEST_F(MemoryServiceTest, AnotherNodeOrAnOlderEpochTouchesNothing) {
  Start(0);
  NewSpace(1);
  WriteBack({{1, 1, 7}});
  auto stolen = Map(0, 1, 2, kSpace, other_);
  EXPECT_EQ(stolen->code, Code::kStaleEpoch);
  EXPECT_TRUE(other_->windows.empty());
  ASSERT_EQ(Call(Opcode::kMapExtents, fakes::Bytes().Put(wire::MapRequest{kSpace, 3, 0, 0, 0}))->code, Code::kOk);
  auto stale = WriteBack({{1, 2, 8}}, /*epoch=*/2);
  EXPECT_EQ(stale->code, Code::kStaleEpoch);
  EXPECT_EQ(ReadAt<wire::ListReply>(stale->payload, 0).next, 3u);
  EXPECT_EQ(WriteBack({{1, 2, 8}}, /*epoch=*/4)->code, Code::kMalformed) << "only MapExtents raises it";
}

TEST_F(MemoryServiceTest, ANewerIncarnationEndsTheSpacesOfTheOlderOne) {
  Start(1);
  NewSpace(2);
  auto reborn = std::make_shared<fakes::Session>(fit::Client{NodeId(1), Incarnation(11), 0});
  EXPECT_EQ(Map(0, 0, 0, 6, reborn)->code, Code::kOk);
  EXPECT_EQ(StatOf("extents"), 0u);
  EXPECT_EQ(link_->Count(Opcode::kDestroySpace), 1u);
  EXPECT_EQ(Map(0, 1, 2)->code, Code::kStaleEpoch) << "the old one is refused";
}

TEST_F(MemoryServiceTest, AClientAwayForLongLosesItsExtentsButNotItsPagesAtTheSnode) {
  Start(1);
  NewSpace(2);
  service_->OnClientDown(session_->client());
  shard_.Advance(absl::Seconds(9));
  EXPECT_EQ(StatOf("extents"), 2u);
  shard_.Advance(absl::Seconds(3));
  EXPECT_EQ(StatOf("extents"), 0u);
  EXPECT_EQ(link_->Count(Opcode::kDestroySpace), 0u);
  EXPECT_EQ(Map(0, 1, 2)->code, Code::kNotFound);
}

TEST_F(MemoryServiceTest, MalformedRequestsTouchNothing) {
  Start(0);
  NewSpace(1);
  const auto expect_malformed = [&](Opcode opcode, std::span<const std::byte> payload, std::span<const std::byte> bulk = {}) {
    EXPECT_EQ(Call(opcode, payload, bulk)->code, Code::kMalformed) << static_cast<int>(opcode) << " " << payload.size();
  };
  std::vector<std::byte> page(kPageBytes);
  using B = fakes::Bytes;
  expect_malformed(Opcode::kMapExtents, B());
  expect_malformed(Opcode::kMapExtents, B().Put(wire::MapRequest{0, 1, 0, 0, 0}));                   // no space
  expect_malformed(Opcode::kMapExtents, B().Put(wire::MapRequest{kSpace, 0, 0, 0, 0}));              // no epoch
  expect_malformed(Opcode::kMapExtents, B().Put(wire::MapRequest{kSpace, 1, 5, 1, 1}));              // not on a boundary
  expect_malformed(Opcode::kMapExtents, B().Put(wire::MapRequest{kSpace, 1, 0, 65, 1}));             // too many
  expect_malformed(Opcode::kMapExtents, B().Put(wire::MapRequest{kSpace, 1, 0, 1, 3}));              // unknown flags
  expect_malformed(Opcode::kMapExtents, B().Put(wire::MapRequest{kSpace, 1, UINT64_MAX - 1023, 64, 1}));  // wraps
  expect_malformed(Opcode::kWriteBack, B().Put(List(0)));                                            // no page
  expect_malformed(Opcode::kWriteBack, B().Put(List(2)).Put(wire::PageDirty{1, 1, 0, 0}), page);     // count lies
  expect_malformed(Opcode::kWriteBack, B().Put(List(1)).Put(wire::PageDirty{1, 1, 0, 1}), page);     // bulk_index out of range
  expect_malformed(Opcode::kWriteBack, B().Put(List(1)).Put(wire::PageDirty{1, 0, 0, 0}), page);     // version 0
  expect_malformed(Opcode::kWriteBack, B().Put(List(1)).Put(wire::PageDirty{1, kMaxVersion + 1, 0, 0}), page);
  expect_malformed(Opcode::kWriteBack, B().Put(List(1)).Put(wire::PageDirty{5000, 1, 0, 0}), page);  // no own extent
  expect_malformed(Opcode::kWriteBack, B().Put(List(1)).Put(wire::PageDirty{1, 1, 0, 0}), std::span(page).first(100));
  expect_malformed(Opcode::kTrim, B().Put(List(1)).Put(wire::TrimRange{0, 0, 1, 0}));                // empty
  expect_malformed(Opcode::kTrim, B().Put(List(1)).Put(wire::TrimRange{2, UINT64_MAX - 1, 1, 0}));   // wraps
  expect_malformed(Opcode::kTrim, B().Put(List(1)).Put(wire::TrimRange{0, std::uint64_t{1} << 32, 1, 0}));  // beyond the log's count
  expect_malformed(Opcode::kTrim, B().Put(List(1)).Put(wire::TrimRange{0, 1, UINT64_MAX, 0}));
  expect_malformed(Opcode::kTrim, B().Put(List(1)).Put(wire::TrimRange{0, 1, 1, 4}));                // the era is the home's
  expect_malformed(Opcode::kUnmapExtents, B().Put(List(1)).Put(wire::u64{5}));
  expect_malformed(Opcode::kFetchPages, B().Put(List(65)));
  expect_malformed(Opcode::kDestroySpace, B().Put(List(1)));
  EXPECT_EQ(Call(Opcode::kAppendPages, B())->code, Code::kUnknownOpcode);
  EXPECT_EQ(StatOf("live_pages"), 0u);
  EXPECT_EQ(StatOf("extents"), 1u);
}

// Random bytes under a right and a wrong head, every opcode: an answer each time, no crash, nothing lent.
TEST_F(MemoryServiceTest, RandomPayloadsAreAnswered) {
  Start(0);
  NewSpace(1);
  std::mt19937_64 random(7);
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::byte> payload(random() % 200);
    for (std::byte& b : payload) b = std::byte(random() % 4 == 0 ? random() : random() % 2);
    if (payload.size() >= sizeof(wire::SpaceList) && random() % 2) {
      const wire::SpaceList head = List(static_cast<std::uint32_t>((payload.size() - sizeof(head)) / 24));
      std::memcpy(payload.data(), &head, sizeof(head));
    }
    std::vector<std::byte> bulk(kPageBytes * (random() % 3));
    auto answer = Call(static_cast<Opcode>(random() % 5), payload, bulk);
    ASSERT_TRUE(answer->sent);
  }
}

}  // namespace
}  // namespace ashlar::mnode
