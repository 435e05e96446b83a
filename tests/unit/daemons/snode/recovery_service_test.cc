#include "daemons/snode/recovery_service.h"

#include <set>

#include "common/fit/compare.h"
#include "tests/unit/daemons/snode/service_fixture.h"

namespace ashlar::snode {
namespace {

class RecoveryServiceTest : public ServiceFixture {
 protected:
  void SetUp() override {
    ServiceFixture::SetUp();
    ASSERT_EQ(Open()->code, Code::kOk);
  }
  std::shared_ptr<Answer> Fence(std::uint64_t epoch, std::uint64_t node = 1, std::uint64_t incarnation = 10) {
    session_ = std::make_shared<fakes::Session>(fit::Client{NodeId(1), Incarnation(10), 0});  // the pnode
    return Call(Opcode::kFenceEpoch, fakes::Bytes().Put(wire::FenceRequest{kSpace, epoch, node, incarnation}));
  }
  std::shared_ptr<Answer> Read(const std::vector<std::uint64_t>& pages, std::uint64_t epoch = 1) {
    fakes::Bytes payload;
    payload.Put(wire::RecoverRequest{kSpace, epoch, 0, static_cast<std::uint32_t>(pages.size()),
                                     static_cast<std::uint32_t>(wire::RecoverMode::kList)});
    for (std::uint64_t page : pages) payload.Put(page);
    return Call(Opcode::kRecoverRead, payload);
  }
  std::shared_ptr<Answer> Scan(std::uint64_t first, std::uint32_t count = 64) {
    return Call(Opcode::kRecoverRead,
                fakes::Bytes().Put(wire::RecoverRequest{kSpace, 1, first, count, static_cast<std::uint32_t>(wire::RecoverMode::kScan)}));
  }
  std::shared_ptr<Answer> Compare(std::uint64_t first, wire::CompareMode mode, std::uint64_t epoch = 1) {
    return Call(Opcode::kCompare, fakes::Bytes().Put(wire::CompareRequest{kSpace, epoch, first, 0, static_cast<std::uint32_t>(mode)}));
  }
  std::shared_ptr<Answer> State(std::uint64_t epoch = 1) { return Call(Opcode::kSpaceState, fakes::Bytes().Put(List(0, epoch))); }
  static wire::ListReply Head(const Answer& answer) { return ReadAt<wire::ListReply>(answer.payload, 0); }
  static wire::PageHave Have(const Answer& answer, std::size_t i = 0) {
    return ReadAt<wire::PageHave>(answer.payload, sizeof(wire::ListReply) + i * sizeof(wire::PageHave));
  }
  static wire::PageMark Mark(const Answer& answer, std::size_t i = 0) {
    return ReadAt<wire::PageMark>(answer.payload, sizeof(wire::ListReply) + i * sizeof(wire::PageMark));
  }
  static bool HasBytesOf(const Answer& answer, const wire::PageHave& have) {
    const TestPage expected(kSpace, have.page, have.version);
    return have.crc32c == expected.crc() &&
           std::memcmp(answer.bulk.data() + have.bulk_index * kPageBytes, expected.bytes().data(), kPageBytes) == 0;
  }
  // Flips a bit of the version held of that page, on the disk.
  void Damage(std::uint64_t page) {
    const PageSlot* slot = log_->index().FindPage(SpaceId(kSpace), PageNumber(page));
    ASSERT_NE(slot, nullptr);
    medium_.segments.at(slot->segment)[slot->block * disk::kBlockBytes + 77] ^= std::byte{4};
  }
};

TEST_F(RecoveryServiceTest, AFenceIsDurableBeforeItIsAnsweredAndShutsOutTheOldHome) {
  disk_->set_auto_complete(false);
  auto fenced = Fence(2);
  EXPECT_FALSE(fenced->sent);
  disk_->set_auto_complete(true);
  Settle();
  ASSERT_EQ(fenced->code, Code::kOk);
  EXPECT_EQ(ReadAt<wire::FenceReply>(fenced->payload, 0).epoch, 2u);
  EXPECT_EQ(ReadAt<wire::FenceReply>(fenced->payload, 0).view, 1u);
  EXPECT_EQ(Fence(2)->code, Code::kOk) << "asked again";
  EXPECT_EQ(CodeAt(*Append({{1, 1}}, 1)), Code::kStaleEpoch);
  Start();
  EXPECT_EQ(CodeAt(*Append({{1, 1}}, 1)), Code::kStaleEpoch);
  auto lower = Fence(1);
  EXPECT_EQ(lower->code, Code::kStaleEpoch);
  EXPECT_EQ(ReadAt<wire::FenceReply>(lower->payload, 0).epoch, 2u);
}

TEST_F(RecoveryServiceTest, OnlyTheOwnerItselfMayFence) {
  EXPECT_EQ(Fence(2, 9)->code, Code::kMalformed);
  EXPECT_EQ(Fence(2, 1, 11)->code, Code::kMalformed);
  EXPECT_EQ(Fence(0)->code, Code::kMalformed);
}

TEST_F(RecoveryServiceTest, OpenKeepsTheMembersOfTheView) {
  wire::OpenRequest request = OpenRequest(2);
  request.count = 2;
  const auto open = [&](wire::SnodeRef second) {
    return Call(Opcode::kOpenSpace, fakes::Bytes().Put(request).Put(wire::SnodeRef{77, 2, 0}).Put(second))->code;
  };
  EXPECT_EQ(open({0, 2, 0}), Code::kMalformed);
  EXPECT_EQ(open({78, 4, 0}), Code::kMalformed);
  EXPECT_EQ(open({78, 2, 1}), Code::kMalformed);
  ASSERT_EQ(open({78, 1, 0}), Code::kOk);
  Start();
  auto state = State(2);
  ASSERT_EQ(state->code, Code::kOk);
  const auto head = ReadAt<wire::SpaceStateReply>(state->payload, 0);
  EXPECT_EQ(head.epoch, 2u);
  ASSERT_EQ(head.count, 2u);
  EXPECT_EQ(head.bad_pages, 0u);
  EXPECT_EQ(ReadAt<wire::SnodeRef>(state->payload, sizeof(head) + sizeof(wire::SnodeRef)).node, 78u);
}

TEST_F(RecoveryServiceTest, AListIsAnsweredItemByItem) {
  Append({{7, 3}, {8, 4, true}, {9, 5}});
  auto answer = Read({9, 100, 8, 7});
  ASSERT_EQ(answer->code, Code::kOk);
  ASSERT_EQ(Head(*answer).count, 4u);
  EXPECT_EQ(answer->bulk.size(), 2 * kPageBytes);
  EXPECT_EQ(Have(*answer, 0).version, 5u);
  EXPECT_TRUE(HasBytesOf(*answer, Have(*answer, 0)));
  EXPECT_EQ(Have(*answer, 1).code, static_cast<std::uint32_t>(Code::kNotFound));
  EXPECT_EQ(Have(*answer, 2).bulk_index, wire::kNoBulk);
  EXPECT_EQ(Have(*answer, 2).version, 4u);
  EXPECT_TRUE(HasBytesOf(*answer, Have(*answer, 3)));
}

TEST_F(RecoveryServiceTest, AScanWalksOneExtentAndSaysWhereTheNextBegins) {
  for (std::uint64_t page = 0; page < 96; page += 48) {
    std::vector<Page> pages;
    for (std::uint64_t p = page; p < page + 48; ++p) pages.push_back({p * 3, 1});
    Append(pages);
  }
  Append({{5000, 1}});
  std::set<std::uint64_t> seen;
  std::uint64_t next = 0;
  for (int calls = 0; calls < 4 && next < kExtentPages; ++calls) {
    auto answer = Scan(next);
    ASSERT_EQ(answer->code, Code::kOk);
    for (std::size_t i = 0; i < Head(*answer).count; ++i) {
      EXPECT_TRUE(HasBytesOf(*answer, Have(*answer, i)));
      EXPECT_TRUE(seen.insert(Have(*answer, i).page).second);
    }
    next = Head(*answer).next;
  }
  EXPECT_EQ(seen.size(), 96u);
  EXPECT_EQ(next, 4096u) << "page 5000 lies in the extent that begins there";
  EXPECT_EQ(Head(*Scan(next)).count, 1u);
  EXPECT_EQ(Head(*Scan(next)).next, wire::kNoNextPage);
  EXPECT_EQ(Head(*Scan(5001)).count, 0u);
}

TEST_F(RecoveryServiceTest, TheEpochOfAReaderCounts) {
  Append({{1, 1}});
  Fence(3);
  auto stale = Read({1}, 2);
  EXPECT_EQ(stale->code, Code::kStaleEpoch);
  EXPECT_EQ(Head(*stale).next, 3u);
  EXPECT_EQ(Read({1}, 4)->code, Code::kNotFound) << "fence it first";
  EXPECT_EQ(Read({1}, 3)->code, Code::kOk);
  EXPECT_EQ(Compare(0, wire::CompareMode::kExtents, 2)->code, Code::kStaleEpoch);
  EXPECT_EQ(State(2)->code, Code::kStaleEpoch);
  Call(Opcode::kDestroySpace, fakes::Bytes().Put(List(0, 3)));
  EXPECT_EQ(Read({1}, 3)->code, Code::kNotFound);
}

TEST_F(RecoveryServiceTest, CompareNamesWhatIsKept) {
  Append({{1, 3}, {2, 4, true}, {2048, 9}});
  auto extents = Compare(0, wire::CompareMode::kExtents);
  ASSERT_EQ(extents->code, Code::kOk);
  ASSERT_EQ(Head(*extents).count, 2u);
  EXPECT_EQ(Head(*extents).next, wire::kNoNextPage);
  auto pages = Compare(0, wire::CompareMode::kPages);
  ASSERT_EQ(Head(*pages).count, 2u);
  const std::array<wire::PageMark, 2> marks = {Mark(*pages, 0), Mark(*pages, 1)};
  EXPECT_EQ(marks[1].page, 2u);
  EXPECT_EQ(marks[1].version, 4u);
  const wire::PageMark expected = fit::ExtentMark(0, marks), got = Mark(*extents, 0);
  EXPECT_EQ(std::memcmp(&got, &expected, sizeof(got)), 0);
  EXPECT_EQ(Mark(*extents, 1).page, 2048u);
  EXPECT_EQ(Head(*Compare(1024, wire::CompareMode::kExtents)).count, 1u);
  EXPECT_EQ(Head(*Compare(1024, wire::CompareMode::kPages)).count, 0u);
}

TEST_F(RecoveryServiceTest, AListOfManyPagesComesInParts) {
  for (std::uint64_t first = 0; first < 320; first += 64) {
    std::vector<Page> pages;
    for (std::uint64_t p = first; p < first + 64; ++p) pages.push_back({p, 1, true});
    Append(pages);
  }
  std::uint64_t next = 0, seen = 0;
  for (int calls = 0; next != wire::kNoNextPage && calls < 5; ++calls) {
    auto answer = Compare(next, wire::CompareMode::kPages);
    for (std::size_t i = 0; i < Head(*answer).count; ++i) EXPECT_EQ(Mark(*answer, i).page, seen++);
    next = Head(*answer).next;
  }
  EXPECT_EQ(seen, 320u);
  EXPECT_EQ(next, wire::kNoNextPage);
}

// A page that rots is found by its reader, named by SpaceState, left out of Compare, and good again when it is resent.
TEST_F(RecoveryServiceTest, ABadPageIsNamedUntilItIsSentAgain) {
  Append({{1, 3}, {2, 3}, {3, 3}});
  Damage(2);
  auto answer = Read({1, 2, 3});
  ASSERT_EQ(answer->code, Code::kOk);
  EXPECT_EQ(Have(*answer, 1).code, static_cast<std::uint32_t>(Code::kDataLoss));
  EXPECT_EQ(Have(*answer, 1).version, 3u);
  EXPECT_EQ(Have(*answer, 1).bulk_index, wire::kNoBulk);
  EXPECT_TRUE(HasBytesOf(*answer, Have(*answer, 0)));
  EXPECT_TRUE(HasBytesOf(*answer, Have(*answer, 2)));
  auto state = State();
  const auto head = ReadAt<wire::SpaceStateReply>(state->payload, 0);
  ASSERT_EQ(head.bad_pages, 1u);
  const auto bad = ReadAt<wire::BadPage>(state->payload, sizeof(head) + head.count * sizeof(wire::SnodeRef));
  EXPECT_EQ(bad.page, 2u);
  EXPECT_EQ(bad.version, 3u);
  EXPECT_EQ(Head(*Compare(0, wire::CompareMode::kPages)).count, 2u);
  auto append = Append({{4, 1}});
  EXPECT_TRUE(append->hints.ask_state);
  append = Append({{2, 3}});
  EXPECT_EQ(CodeAt(*append), Code::kOk) << "the same version again replaces the bad one";
  EXPECT_FALSE(append->hints.ask_state);
  EXPECT_EQ(Have(*Read({2})).code, static_cast<std::uint32_t>(Code::kOk));
  EXPECT_EQ(ReadAt<wire::SpaceStateReply>(State()->payload, 0).bad_pages, 0u);
}

TEST_F(RecoveryServiceTest, AReadErrorCostsOnlyThePageItHits) {
  Append({{1, 3}, {2, 3}, {3, 3}});
  const PageSlot* slot = log_->index().FindPage(SpaceId(kSpace), PageNumber(2));
  disk_->FailReadsOf({slot->segment, slot->block});
  auto answer = Read({1, 2, 3});
  EXPECT_TRUE(HasBytesOf(*answer, Have(*answer, 0)));
  EXPECT_EQ(Have(*answer, 1).code, static_cast<std::uint32_t>(Code::kDataLoss));
  EXPECT_TRUE(HasBytesOf(*answer, Have(*answer, 2)));
}

TEST_F(RecoveryServiceTest, NumbersOutOfBoundsAreMalformed) {
  const auto read = [&](wire::RecoverRequest request, std::size_t items) {
    fakes::Bytes payload;
    payload.Put(request);
    for (std::size_t i = 0; i < items; ++i) payload.Put(std::uint64_t{1});
    return Call(Opcode::kRecoverRead, payload)->code;
  };
  EXPECT_EQ(read({kSpace, 1, 0, 1, 1}, 1), Code::kOk);
  EXPECT_EQ(read({kSpace, 1, 0, 1, 0}, 1), Code::kMalformed);
  EXPECT_EQ(read({kSpace, 1, 0, 1, 3}, 1), Code::kMalformed);
  EXPECT_EQ(read({kSpace, 1, 0, 0, 1}, 0), Code::kMalformed);
  EXPECT_EQ(read({kSpace, 1, 0, 2, 1}, 1), Code::kMalformed);
  EXPECT_EQ(read({kSpace, 1, 0, 65, 1}, 65), Code::kMalformed);
  EXPECT_EQ(read({kSpace, 1, 0, 65, 2}, 0), Code::kMalformed);
  EXPECT_EQ(read({kSpace, 1, 0, 1, 2}, 1), Code::kMalformed);
  EXPECT_EQ(read({kSpace, 1, ~std::uint64_t{0}, 1, 2}, 0), Code::kMalformed);
  EXPECT_EQ(Call(Opcode::kRecoverRead, {})->code, Code::kMalformed);
  const auto compare = [&](wire::CompareRequest request) { return Call(Opcode::kCompare, fakes::Bytes().Put(request))->code; };
  EXPECT_EQ(compare({kSpace, 1, 0, 1, 1}), Code::kMalformed);
  EXPECT_EQ(compare({kSpace, 1, 0, 0, 0}), Code::kMalformed);
  EXPECT_EQ(compare({kSpace, 1, 0, 0, 3}), Code::kMalformed);
  EXPECT_EQ(compare({kSpace, 1, ~std::uint64_t{0}, 0, 2}), Code::kMalformed);
  EXPECT_EQ(compare({99, 1, 0, 0, 1}), Code::kNotFound);
  EXPECT_EQ(Call(Opcode::kSpaceState, fakes::Bytes().Put(List(1)))->code, Code::kMalformed);
  EXPECT_EQ(Call(Opcode::kFenceEpoch, {})->code, Code::kMalformed);
}

}  // namespace
}  // namespace ashlar::snode
