#include "tests/unit/daemons/snode/service_fixture.h"

namespace ashlar::snode {
namespace {

using AppendServiceTest = ServiceFixture;

TEST_F(AppendServiceTest, OpensAppendsAndAnswersAtLevelDisk) {
  auto open = Open();
  ASSERT_EQ(open->code, Code::kOk);
  EXPECT_EQ(ReadAt<wire::FenceReply>(open->payload, 0).epoch, 1u);
  EXPECT_GT(ReadAt<wire::FenceReply>(open->payload, 0).durable_batch_seq, 0u);
  auto answer = Append({{7, 1}, {8, 3, true}, {9, 2}});
  ASSERT_EQ(answer->code, Code::kOk);
  const auto head = ReadAt<wire::ListReply>(answer->payload, 0);
  EXPECT_EQ(head.count, 3u);
  EXPECT_EQ(head.next, 9u);
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(CodeAt(*answer, i), Code::kOk);
    EXPECT_EQ(Result(*answer, i).level, 2u);
    EXPECT_EQ(Result(*answer, i).page, 7 + i);
  }
  EXPECT_EQ(Result(*answer, 1).stored_version, 3u);
  Start();
  EXPECT_EQ(Held(7), 1u);
  EXPECT_EQ(Held(8), 3u);
  EXPECT_EQ(log_->FindSpace(SpaceId(kSpace))->open.home, (NodeInstance{NodeId(2), Incarnation(20)}));
}

TEST_F(AppendServiceTest, AnswersNothingBeforeTheDiskHasIt) {
  ASSERT_EQ(Open()->code, Code::kOk);
  disk_->set_auto_complete(false);
  auto answer = Append({{7, 1}});
  EXPECT_FALSE(answer->sent);
  auto trim = Call(Opcode::kTrim, fakes::Bytes().Put(List(1)).Put(wire::TrimRange{100, 1, 5, 0}));
  EXPECT_FALSE(trim->sent);
  disk_->set_auto_complete(true);
  Settle();
  EXPECT_TRUE(answer->sent);
  EXPECT_TRUE(trim->sent);
}

TEST_F(AppendServiceTest, ABatchSucceedsInPart) {
  ASSERT_EQ(Open()->code, Code::kOk);
  Append({{1, 5}, {2, 5}});
  auto answer = Append({{1, 5}, {2, 4}, {3, 1, false, /*crc_error=*/1}, {4, 1}});
  ASSERT_EQ(answer->code, Code::kOk);
  EXPECT_EQ(CodeAt(*answer, 0), Code::kAlready);
  EXPECT_EQ(CodeAt(*answer, 1), Code::kSuperseded);
  EXPECT_EQ(Result(*answer, 1).stored_version, 5u);
  EXPECT_EQ(CodeAt(*answer, 2), Code::kDataLoss);
  EXPECT_EQ(Result(*answer, 2).level, 0u);
  EXPECT_EQ(CodeAt(*answer, 3), Code::kOk);
}

TEST_F(AppendServiceTest, EpochsSpacesAndTheirEnd) {
  EXPECT_EQ(CodeAt(*Append({{1, 1}})), Code::kNotFound) << "never opened";
  ASSERT_EQ(Open(2)->code, Code::kOk);
  EXPECT_EQ(CodeAt(*Append({{1, 1}}, 1)), Code::kStaleEpoch);
  EXPECT_EQ(CodeAt(*Append({{1, 1}}, 3)), Code::kNotFound) << "open it under that epoch first";
  EXPECT_EQ(Open(1)->code, Code::kStaleEpoch);
  EXPECT_EQ(ReadAt<wire::FenceReply>(Open(1)->payload, 0).epoch, 2u);
  EXPECT_EQ(Call(Opcode::kDestroySpace, fakes::Bytes().Put(List(0, 1)))->code, Code::kStaleEpoch);
  EXPECT_EQ(Call(Opcode::kDestroySpace, fakes::Bytes().Put(List(0, 2)))->code, Code::kOk);
  EXPECT_EQ(Call(Opcode::kDestroySpace, fakes::Bytes().Put(List(0, 2)))->code, Code::kOk) << "asked again";
  EXPECT_EQ(CodeAt(*Append({{1, 1}}, 2)), Code::kNotFound);
  EXPECT_EQ(Open(3)->code, Code::kNotFound);
  wire::SpaceList unknown = List();
  unknown.space = 99;
  EXPECT_EQ(Call(Opcode::kDestroySpace, fakes::Bytes().Put(unknown))->code, Code::kNotFound);
}

TEST_F(AppendServiceTest, ANewerPnodeMayEndASpaceBeforeItsHomeOpenedItAnew) {
  ASSERT_EQ(Open(1)->code, Code::kOk);
  EXPECT_EQ(Call(Opcode::kDestroySpace, fakes::Bytes().Put(List(0, 4)))->code, Code::kOk);
  EXPECT_EQ(Open(4)->code, Code::kNotFound);
}

TEST_F(AppendServiceTest, TrimsUpToTheirVersionAlsoHugeRanges) {
  ASSERT_EQ(Open()->code, Code::kOk);
  Append({{1, 5}, {2, 9}});
  auto stale = Call(Opcode::kTrim, fakes::Bytes().Put(List(1, 0)).Put(wire::TrimRange{0, 10, 5, 0}));
  EXPECT_EQ(stale->code, Code::kStaleEpoch);
  EXPECT_EQ(ReadAt<wire::ListReply>(stale->payload, 0).next, 1u);
  EXPECT_EQ(
      Call(Opcode::kTrim, fakes::Bytes().Put(List(1)).Put(wire::TrimRange{0, std::uint64_t{1} << 35, 5, 0}))->code,
      Code::kOk);
  EXPECT_EQ(Held(1), 0u);
  EXPECT_EQ(Held(2), 9u);
  EXPECT_EQ(CodeAt(*Append({{(std::uint64_t{1} << 35) - 1, 4}})), Code::kSuperseded);
}

TEST_F(AppendServiceTest, AFullLogAnswersExhaustedAndStillTrims) {
  ASSERT_EQ(Open()->code, Code::kOk);
  std::shared_ptr<Answer> answer;
  for (std::uint64_t page = 0; page < 2000; page += 8) {
    std::vector<Page> pages;
    for (std::uint64_t p = page; p < page + 8; ++p) pages.push_back({p, 1});
    answer = Append(pages);
    if (answer->code != Code::kOk) break;
  }
  ASSERT_EQ(answer->code, Code::kExhausted);
  EXPECT_GE(answer->hints.retry_after_ms, 100);
  EXPECT_EQ(service_->usage().state, CapacityState::kFull);
  EXPECT_EQ(Call(Opcode::kTrim, fakes::Bytes().Put(List(1)).Put(wire::TrimRange{0, 400, 1, 0}))->code, Code::kOk);
  EXPECT_EQ(Append({{5000, 1}})->code, Code::kOk);
}

TEST_F(AppendServiceTest, NumbersOutOfBoundsAreMalformedAndTakeNothing) {
  ASSERT_EQ(Open()->code, Code::kOk);
  const auto append = [&](auto change, std::size_t bulk_pages = 1) {
    fakes::Bytes good = AppendPayload({{1, 1}});
    auto head = ReadAt<wire::AppendHead>(good, 0);
    auto page = ReadAt<wire::PageAppend>(good, sizeof(head));
    change(head, page);
    return Call(Opcode::kAppendPages, fakes::Bytes().Put(head).Put(page), bulk_pages)->code;
  };
  EXPECT_EQ(append([](auto& head, auto&) { head.count = 0; }), Code::kMalformed);
  EXPECT_EQ(append([](auto& head, auto&) { head.count = 2; }), Code::kMalformed);
  EXPECT_EQ(append([](auto& head, auto&) { head.count = 0xFFFFFFFF; }), Code::kMalformed);
  EXPECT_EQ(append([](auto& head, auto&) { head.flags = 1; }), Code::kMalformed);
  EXPECT_EQ(append([](auto&, auto& page) { page.bulk_index = 1; }), Code::kMalformed);
  EXPECT_EQ(append([](auto&, auto& page) { page.bulk_index = 0xFFFFFFFE; }), Code::kMalformed);
  EXPECT_EQ(append([](auto&, auto&) {}, /*bulk_pages=*/0), Code::kMalformed);
  EXPECT_EQ(append([](auto&, auto& page) { page.page = ~std::uint64_t{0}; }), Code::kMalformed);
  EXPECT_EQ(append([](auto&, auto& page) { page.version = 0; }), Code::kMalformed);
  EXPECT_EQ(append([](auto&, auto& page) { page.version = kMaxVersion + 1; }), Code::kMalformed);
  EXPECT_EQ(append([](auto&, auto& page) { page.space = 0; }), Code::kMalformed);
  const auto open = [&](auto change) {
    wire::OpenRequest request = OpenRequest(3);
    change(request);
    return Call(Opcode::kOpenSpace, fakes::Bytes().Put(request))->code;
  };
  EXPECT_EQ(open([](auto& r) { r.space = 0; }), Code::kMalformed);
  EXPECT_EQ(open([](auto& r) { r.epoch = 0; }), Code::kMalformed);
  EXPECT_EQ(open([](auto& r) { r.epoch = std::uint64_t{1} << 40; }), Code::kMalformed);
  EXPECT_EQ(open([](auto& r) { r.owner_node = 0; }), Code::kMalformed);
  EXPECT_EQ(open([](auto& r) { r.view = 0; }), Code::kMalformed);
  EXPECT_EQ(open([](auto& r) { r.parent_space = 4; }), Code::kMalformed);
  EXPECT_EQ(open([](auto& r) { r.ack = 7; }), Code::kMalformed);
  EXPECT_EQ(open([](auto& r) { r.count = 1; }), Code::kMalformed);
  const auto trim = [&](wire::TrimRange range) {
    return Call(Opcode::kTrim, fakes::Bytes().Put(List(1)).Put(range))->code;
  };
  EXPECT_EQ(trim({0, 0, 1, 0}), Code::kMalformed);
  EXPECT_EQ(trim({0, ~std::uint64_t{0}, 1, 0}), Code::kMalformed);
  EXPECT_EQ(trim({~std::uint64_t{0}, 1, 1, 0}), Code::kMalformed);
  EXPECT_EQ(trim({0, 1, 0, 0}), Code::kMalformed);
  EXPECT_EQ(trim({0, 1, kMaxVersion + 1, 0}), Code::kMalformed);
  EXPECT_EQ(Call(Opcode::kTrim, fakes::Bytes().Put(List(0)))->code, Code::kMalformed);
  EXPECT_EQ(Call(Opcode::kDestroySpace, fakes::Bytes().Put(List(1)))->code, Code::kMalformed);
  EXPECT_EQ(Call(Opcode::kAppendPages, {})->code, Code::kMalformed);
  EXPECT_EQ(Call(Opcode::kMapExtents, {})->code, Code::kUnknownOpcode);
  EXPECT_EQ(log_->index().page_count(), 0u);
}

TEST_F(AppendServiceTest, TheIdleMarkIsWrittenByATimer) {
  ASSERT_EQ(Open()->code, Code::kOk);
  ASSERT_EQ(Append({{1, 1}})->code, Code::kOk);
  const std::uint64_t writes = disk_->writes_completed();
  shard_.Advance(absl::Milliseconds(60));
  Settle();
  EXPECT_EQ(disk_->writes_completed(), writes + 1);
}

TEST_F(AppendServiceTest, ADiskThatFailsTwiceEndsTheServiceUnanswered) {
  ASSERT_EQ(Open()->code, Code::kOk);
  disk_->FailNextWrites(2);
  auto answer = Append({{1, 1}});
  EXPECT_FALSE(answer->sent);
  EXPECT_TRUE(absl::IsDataLoss(failed_));
  EXPECT_EQ(Append({{2, 1}})->code, Code::kUnavailable);
}

TEST_F(AppendServiceTest, AfterCloseWhatWaitedIsDroppedAndTheRestRefused) {
  ASSERT_EQ(Open()->code, Code::kOk);
  disk_->set_auto_complete(false);
  auto waiting = Append({{1, 1}});
  service_->Close();
  EXPECT_TRUE(waiting->dropped);
  EXPECT_EQ(Send(Opcode::kAppendPages, {})->code, Code::kUnavailable);
  shard_.Advance(absl::Seconds(1));
}

}  // namespace
}  // namespace ashlar::snode
