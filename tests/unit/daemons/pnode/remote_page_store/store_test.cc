// The store against a home whose every answer the test writes: what must not be believed, and when buffers come back.
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/crc32c.h"
#include "common/base/mapping.h"
#include "daemons/pnode/remote_page_store/remote_page_store.h"
#include "tests/unit/daemons/fit_fakes.h"

namespace ashlar::pnode {
namespace {

namespace wire = fit::wire;
using fit::Code;
using wire::Opcode;
constexpr SpaceId kSpace(5);
constexpr wire::ExtentGrant kGrant{.first_page = 0, .base = 0x1000, .key = 7, .extent = 0, .generation = 1, .layer = 0, .origin = 5};

class StoreTest : public testing::Test, public PageStoreEvents {
 protected:
  StoreTest() {
    auto connection = std::make_unique<fakes::Connection>();
    link_ = connection.get();
    store_.SetEvents(this);
    home_.Attach(std::move(connection));
    EXPECT_TRUE(store_.AddBuffer(buffer_.bytes()).ok());
    home_.OnUp(Incarnation(100), 1);
    EXPECT_TRUE(store_.CreateSpace(kSpace).ok());
    AnswerMap({});
  }
  // Answers the MapExtents under way.
  void AnswerMap(std::vector<wire::ExtentGrant> grants, std::uint64_t incarnation = 100) {
    fakes::Bytes reply;
    reply.Put(wire::MapReply{.pool_incarnation = incarnation, .count = static_cast<std::uint32_t>(grants.size()), .free_extents = 10});
    for (const wire::ExtentGrant& grant : grants) reply.Put(grant);
    link_->Answer(link_->Find(Opcode::kMapExtents), Code::kOk, reply);
  }
  // A write-back of page 3 whose extent gets mapped with `grant`.
  void MapByWriting(const wire::ExtentGrant& grant = kGrant) {
    Write(3, 1);
    AnswerMap({grant});
    AnswerWrite({.page = 3, .stored_version = 1, .code = 0, .level = 2});
    Poll();
    results_.clear();
  }
  Cookie Write(std::uint64_t page, std::uint64_t version) {
    const DirtyPage dirty{PageNumber(page), Version(version), {}, PageCrc32c(kSpace, PageNumber(page), Version(version), {}), ++cookie_};
    EXPECT_EQ(store_.WriteBack(kSpace, std::span(&dirty, 1)), absl::OkStatus());
    return cookie_;
  }
  void AnswerWrite(wire::PageResult result, fit::Hints hints = {}) {
    link_->Answer(link_->Find(Opcode::kWriteBack), Code::kOk, fakes::Bytes().Put(wire::ListReply{.count = 1}).Put(result), {}, hints);
  }
  Cookie Fetch(std::uint64_t page, std::uint64_t version) {
    const FetchRequest request{kSpace, PageNumber(page), Version(version), Slot(), ++cookie_};
    store_.Fetch(std::span(&request, 1));
    return cookie_;
  }
  void AnswerFetch(wire::PageHave have, std::span<const std::byte> bulk) {
    link_->Answer(link_->Find(Opcode::kFetchPages), Code::kOk, fakes::Bytes().Put(wire::ListReply{.count = 1}).Put(have), bulk);
  }
  std::span<std::byte> Slot() { return buffer_.bytes().first(kPageBytes); }
  void Poll() { store_.Poll(); }
  absl::Status ResultOf(Cookie cookie) {
    Poll();
    return results_.contains(cookie) ? results_[cookie] : absl::UnknownError("no event");
  }
  void Advance(int ms) {
    shard_.Advance(absl::Milliseconds(ms));
    Poll();
  }

  void OnFetched(Cookie cookie, const absl::Status& status) override { results_[cookie] = status; }
  void OnWrittenBack(Cookie cookie, const absl::Status& status, AckLevel level) override {
    results_[cookie] = status;
    level_ = level;
  }
  void OnSpaceLost(SpaceId, const absl::Status& reason) override { lost_ = reason; }

  fakes::Shard shard_;
  Mapping buffer_ = *Mapping::Anonymous(4 * kPageBytes);
  fakes::Connection* link_ = nullptr;
  RemotePageStore store_{shard_, {}, shard_.clock};
  HomeLink& home_ = store_.AddHome({.name = "m1", .extents = 8});
  Cookie cookie_ = 0;
  std::map<Cookie, absl::Status> results_;
  AckLevel level_ = AckLevel::kHome;
  absl::Status lost_;
};

TEST_F(StoreTest, AFetchReadsThroughTheWindowOfItsExtent) {
  MapByWriting();
  const Cookie cookie = Fetch(3, 1);
  ASSERT_EQ(link_->calls.size(), 1u);
  ASSERT_EQ(link_->calls[0].pieces.size(), 1u);
  const fit::RemoteCopy& piece = link_->calls[0].pieces[0];
  EXPECT_EQ(piece.window.key, fabric::RemoteKey(7));
  EXPECT_EQ(piece.window.base, 0x1000u);
  EXPECT_EQ(piece.window.bytes, kExtentBytes);
  EXPECT_EQ(piece.offset, 3 * kPageBytes);
  EXPECT_EQ(piece.local.bytes, kPageBytes);
  link_->Finish(0, {.status = absl::OkStatus(), .code = Code::kOk});
  EXPECT_EQ(ResultOf(cookie), absl::OkStatus());
}

TEST_F(StoreTest, ABufferComesBackOnlyWhenNothingCanTouchItAnyMore) {
  MapByWriting();
  const Cookie cookie = Fetch(3, 1);
  fit::PendingCall* call = link_->calls[0].call;
  link_->calls.clear();
  Advance(3000);  // the deadline is over
  call->OnDone({.status = absl::DeadlineExceededError("late"), .code = Code::kUnavailable});
  EXPECT_EQ(ResultOf(cookie).code(), absl::StatusCode::kUnknown) << "no event: the wire may still write there";
  call->OnReleased();
  EXPECT_EQ(ResultOf(cookie).code(), absl::StatusCode::kUnavailable);
}

TEST_F(StoreTest, AFailedReadIsRepeatedOnTheNewConnectionThroughANewWindow) {
  MapByWriting();
  const Cookie cookie = Fetch(3, 1);
  link_->up = false;
  home_.OnDown(absl::UnavailableError("test"));
  link_->Lose(0);
  EXPECT_EQ(ResultOf(cookie).code(), absl::StatusCode::kUnknown);
  link_->up = true;
  link_->epoch = 2;
  home_.OnUp(Incarnation(100), 2);
  const auto ask = fakes::ReadAt<wire::MapRequest>(link_->calls.at(link_->Find(Opcode::kMapExtents)).payload, 0);
  EXPECT_EQ(ask.flags, 2u) << "those there are: nothing is made";
  wire::ExtentGrant grant = kGrant;
  grant.key = 9;
  AnswerMap({grant});
  ASSERT_EQ(link_->calls.size(), 1u);
  EXPECT_EQ(link_->calls[0].pieces.at(0).window.key, fabric::RemoteKey(9));
  link_->Finish(0, {.status = absl::OkStatus(), .code = Code::kOk});
  EXPECT_EQ(ResultOf(cookie), absl::OkStatus());
}

TEST_F(StoreTest, WithoutAWindowPagesComeByMessageAndAreChecked) {
  wire::ExtentGrant grant = kGrant;
  grant.key = 0;
  MapByWriting(grant);
  const Cookie cookie = Fetch(3, 1);
  const std::vector<std::byte> bytes(kPageBytes, std::byte{0x5A});
  wire::PageHave have{.origin = 5, .page = 3, .version = 1, .crc32c = PageCrc32c(kSpace, PageNumber(3), Version(1), bytes) ^ 1,
                      .bulk_index = 0, .code = 0, .layer = 0};
  AnswerFetch(have, bytes);
  EXPECT_EQ(ResultOf(cookie).code(), absl::StatusCode::kUnavailable) << "damaged: ask again";
  const Cookie again = Fetch(3, 1);
  have.crc32c ^= 1;
  AnswerFetch(have, bytes);
  EXPECT_EQ(ResultOf(again), absl::OkStatus());
  EXPECT_EQ(Slot()[17], std::byte{0x5A});
  const Cookie other_version = Fetch(3, 1);
  have.version = 2;
  AnswerFetch(have, bytes);
  EXPECT_EQ(ResultOf(other_version).code(), absl::StatusCode::kDataLoss);
  const Cookie out_of_range = Fetch(3, 1);
  have.version = 1;
  have.bulk_index = 1;
  AnswerFetch(have, bytes);
  EXPECT_EQ(ResultOf(out_of_range).code(), absl::StatusCode::kUnavailable);
}

TEST_F(StoreTest, GrantsThatDoNotFitTheQuestionAreNotBelieved) {
  const auto bad = [](auto change) {
    wire::ExtentGrant grant = kGrant;
    change(grant);
    return grant;
  };
  const Cookie cookie = Write(3, 1);
  AnswerMap({bad([](auto& g) { g.origin = 6; })});
  for (const wire::ExtentGrant& grant : {bad([](auto& g) { g.first_page = 17; }), bad([](auto& g) { g.first_page = kExtentPages; }),
                                         bad([](auto& g) { g.layer = 1; })}) {
    Advance(60);
    AnswerMap({grant});
    EXPECT_EQ(link_->Count(Opcode::kWriteBack), 0u);
  }
  Advance(60);
  AnswerMap({kGrant}, /*incarnation=*/99);
  EXPECT_EQ(link_->Count(Opcode::kWriteBack), 0u) << "another life of the home";
  Advance(60);
  AnswerMap({});
  Advance(60);
  AnswerMap({kGrant});
  AnswerWrite({.page = 3, .stored_version = 1, .code = 0, .level = 2});
  EXPECT_EQ(ResultOf(cookie), absl::OkStatus());
}

TEST_F(StoreTest, WhatTheHomeSaysOfAPage) {
  MapByWriting();
  const auto result_of = [&](Code code, std::uint64_t stored, std::uint32_t level, std::uint64_t page = 3) {
    static std::uint64_t version = 10;
    const Cookie cookie = Write(3, ++version);
    AnswerWrite({.page = page, .stored_version = stored == 0 ? version : stored, .code = static_cast<std::uint32_t>(code), .level = level});
    return ResultOf(cookie);
  };
  EXPECT_EQ(result_of(Code::kOk, 0, 2), absl::OkStatus());
  EXPECT_EQ(level_, AckLevel::kDisk);
  EXPECT_EQ(result_of(Code::kAlready, 0, 0), absl::OkStatus());
  EXPECT_EQ(level_, AckLevel::kHome) << "never more than was reached";
  EXPECT_EQ(result_of(Code::kOk, 0, 77), absl::OkStatus());
  EXPECT_EQ(level_, AckLevel::kDisk);
  EXPECT_EQ(result_of(Code::kSuperseded, 99, 2), absl::OkStatus());
  EXPECT_EQ(result_of(Code::kDataLoss, 0, 0).code(), absl::StatusCode::kDataLoss) << "two contents of one version";
  EXPECT_EQ(result_of(Code::kDataLoss, 1, 0).code(), absl::StatusCode::kUnavailable) << "damaged on the way";
  EXPECT_EQ(result_of(Code::kExhausted, 0, 0).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(result_of(Code::kUnavailable, 0, 0).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(result_of(static_cast<Code>(60000), 0, 2).code(), absl::StatusCode::kUnavailable) << "an unknown code";
  EXPECT_EQ(result_of(Code::kOk, 0, 2, /*page=*/4).code(), absl::StatusCode::kUnavailable) << "another page acknowledges nothing";
}

TEST_F(StoreTest, AShortAnswerAcknowledgesNothing) {
  MapByWriting();
  const Cookie cookie = Write(3, 2);
  link_->Answer(link_->Find(Opcode::kWriteBack), Code::kOk, fakes::Bytes().Put(wire::ListReply{.count = 1}));
  EXPECT_EQ(ResultOf(cookie).code(), absl::StatusCode::kUnavailable);
}

TEST_F(StoreTest, HintsBoundTheWriteBacksUnderWay) {
  MapByWriting();
  Write(3, 2);
  AnswerWrite({.page = 3, .stored_version = 2, .code = 0, .level = 2}, {.write_batches = 1});
  Write(3, 3);
  const DirtyPage dirty{PageNumber(4), Version(1), {}, 0, 99};
  EXPECT_EQ(store_.WriteBack(kSpace, std::span(&dirty, 1)).code(), absl::StatusCode::kResourceExhausted);
  AnswerWrite({.page = 3, .stored_version = 3, .code = 0, .level = 2}, {.write_batches = 6});
  EXPECT_EQ(store_.WriteBack(kSpace, std::span(&dirty, 1)), absl::OkStatus());
}

TEST_F(StoreTest, ARetryHintHoldsTheNextWriteBackBack) {
  MapByWriting();
  const Cookie refused = Write(3, 2);
  link_->Finish(link_->Find(Opcode::kWriteBack),
                {.status = absl::ResourceExhaustedError("full"), .code = Code::kExhausted, .hints = {.retry_after_ms = 100}});
  EXPECT_EQ(ResultOf(refused).code(), absl::StatusCode::kResourceExhausted);
  Write(3, 2);
  Advance(90);
  EXPECT_EQ(link_->Count(Opcode::kWriteBack), 0u);
  Advance(30);
  EXPECT_EQ(link_->Count(Opcode::kWriteBack), 1u);
}

TEST_F(StoreTest, AWriteBackRefusedAsMalformedMapsItsExtentAgain) {
  MapByWriting();
  const Cookie refused = Write(3, 2);
  link_->Answer(link_->Find(Opcode::kWriteBack), Code::kMalformed);
  EXPECT_EQ(ResultOf(refused).code(), absl::StatusCode::kUnavailable);
  Write(3, 2);
  EXPECT_EQ(fakes::ReadAt<wire::MapRequest>(link_->calls.at(link_->Find(Opcode::kMapExtents)).payload, 0).flags, 1u);
  AnswerMap({kGrant});
  EXPECT_EQ(link_->Count(Opcode::kWriteBack), 1u);
}

TEST_F(StoreTest, AnotherOwnerEndsTheSpaceBehindItsRequests) {
  MapByWriting();
  const Cookie cookie = Write(3, 2);
  const Cookie fetch = Fetch(3, 1);
  link_->Answer(link_->Find(Opcode::kWriteBack), Code::kStaleEpoch, fakes::Bytes().Put(wire::ListReply{.next = 9}));
  EXPECT_EQ(ResultOf(cookie).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(lost_, absl::OkStatus()) << "a fetch is still under way";
  link_->Lose(0);
  EXPECT_EQ(ResultOf(fetch).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(lost_.code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(StoreTest, TrimsGoBehindTheWriteBacksBeforeThem) {
  MapByWriting();
  Write(3, 2);
  const TrimRange range{PageNumber(0), 64, Version(2)};
  store_.Trim(kSpace, std::span(&range, 1));
  EXPECT_EQ(link_->Count(Opcode::kTrim), 0u);
  AnswerWrite({.page = 3, .stored_version = 2, .code = 0, .level = 2});
  ASSERT_EQ(link_->Count(Opcode::kTrim), 1u);
  link_->Lose(link_->Find(Opcode::kTrim));
  Advance(100);
  ASSERT_EQ(link_->Count(Opcode::kTrim), 1u) << "repeated until the home has it";
  link_->Answer(link_->Find(Opcode::kTrim), Code::kOk);
  ASSERT_EQ(link_->Count(Opcode::kUnmapExtents), 1u) << "nothing is left in that extent";
  Write(3, 3);
  EXPECT_EQ(link_->Count(Opcode::kWriteBack), 0u) << "it waits: the extent is going";
  link_->Answer(link_->Find(Opcode::kUnmapExtents), Code::kOk);
  AnswerMap({kGrant});
  EXPECT_EQ(link_->Count(Opcode::kWriteBack), 1u);
}

}  // namespace
}  // namespace ashlar::pnode
