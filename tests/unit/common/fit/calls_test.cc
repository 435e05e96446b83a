#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "common/base/mapping.h"
#include "tests/unit/common/fit/world.h"

namespace ashlar::fit {
namespace {

TEST(Fit, ACallIsAnsweredAndReleased) {
  World world;
  ASSERT_TRUE(world.Connect());
  TestCall call;
  ASSERT_TRUE(world.Start(call, "hello").ok());
  ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 10));
  EXPECT_TRUE(call.status.ok()) << call.status;
  EXPECT_EQ(Text(call.payload), "hello");
  EXPECT_EQ(call.done, 1);
  EXPECT_TRUE(call.released_after_done);
}

TEST(Fit, NothingEndsInsideStart) {
  World world;
  ASSERT_TRUE(world.Connect());
  TestCall call;
  ASSERT_TRUE(world.Start(call, "x", 0).ok());
  EXPECT_EQ(call.done, 0);
  ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 2));
  EXPECT_EQ(call.done, 1);
}

TEST(Fit, BulkTravelsBothWays) {
  World world;
  ASSERT_TRUE(world.Connect());
  Mapping memory = *Mapping::Anonymous(64 * kPageBytes);
  auto region = *world.client_shard->Register(memory.bytes());
  for (std::size_t i = 0; i < memory.bytes().size(); ++i) memory.bytes()[i] = static_cast<std::byte>(i * 31 >> 3);
  std::vector<fabric::Slice> pages;
  for (std::uint32_t i = 0; i < 64; ++i) pages.push_back({region.get(), (63 - i) * kPageBytes, kPageBytes});
  bool matches = false;
  world.handler.on_request = [&](const RequestView& request, ReplyWriter reply) {
    if (request.opcode == wire::Opcode::kWriteBack) {
      matches = request.bulk.size() == 64 * kPageBytes && reinterpret_cast<std::uintptr_t>(request.bulk.data()) % kPageBytes == 0;
      for (std::uint32_t i = 0; matches && i < 64; ++i)
        matches = std::memcmp(request.bulk.data() + i * kPageBytes, memory.bytes().data() + (63 - i) * kPageBytes, kPageBytes) == 0;
      EXPECT_EQ(request.bulk_slice.bytes, request.bulk.size());
      return reply.Send(Code::kOk);
    }
    std::fill_n(reply.bulk().begin(), 3 * kPageBytes, std::byte{0x5A});
    reply.Send(Code::kOk, 0, 3 * kPageBytes, {.degraded = true, .write_batches = 3, .retry_after_ms = 250});
  };
  TestCall write, fetch;
  ASSERT_TRUE(world.connection->Start(wire::Opcode::kWriteBack, Bytes("w"), pages, world.In(100), write).ok());
  ASSERT_TRUE(world.connection->Start(wire::Opcode::kFetchPages, Bytes("f"), {}, world.In(100), fetch).ok());
  ASSERT_TRUE(world.RunUntil([&] { return write.released + fetch.released == 2; }, 20));
  EXPECT_TRUE(write.status.ok()) << write.status;
  EXPECT_TRUE(matches);
  EXPECT_EQ(fetch.bulk, std::vector<std::byte>(3 * kPageBytes, std::byte{0x5A}));
  EXPECT_TRUE(fetch.hints.degraded);
  EXPECT_EQ(fetch.hints.write_batches, 3);
  EXPECT_EQ(fetch.hints.retry_after_ms, 250);
}

TEST(Fit, AnErrorCodeIsAStatusAndKeepsItsPayload) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [](const RequestView&, ReplyWriter reply) {
    reply.payload()[0] = std::byte{9};
    reply.Send(Code::kStaleEpoch, 1);
  };
  TestCall call;
  ASSERT_TRUE(world.Start(call, "x").ok());
  ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 10));
  EXPECT_TRUE(absl::IsFailedPrecondition(call.status)) << call.status;
  EXPECT_EQ(call.code, Code::kStaleEpoch);
  EXPECT_THAT(call.payload, testing::ElementsAre(std::byte{9}));
}

TEST(Fit, ADroppedReplyWriterAnswersUnavailable) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [](const RequestView&, ReplyWriter) {};
  TestCall call;
  ASSERT_TRUE(world.Start(call, "x").ok());
  ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 10));
  EXPECT_TRUE(absl::IsUnavailable(call.status)) << call.status;
}

TEST(Fit, ManyMoreCallsThanSlotsAllEnd) {
  World world;
  ASSERT_TRUE(world.Connect());
  std::vector<TestCall> calls(1000);
  for (std::size_t i = 0; i < calls.size(); ++i) ASSERT_TRUE(world.Start(calls[i], std::to_string(i)).ok());
  ASSERT_TRUE(world.RunUntil([&] { return std::ranges::all_of(calls, [](auto& c) { return c.released == 1; }); }, 100));
  for (std::size_t i = 0; i < calls.size(); ++i) EXPECT_EQ(Text(calls[i].payload), std::to_string(i));
  EXPECT_EQ(world.Stat("fit_slots_in_use"), 0u);
}

TEST(Fit, AFullQueueTakesNothing) {
  World world({.address = "server"}, {.max_queued = 4});
  world.StartClient();
  std::vector<TestCall> calls(5);
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(world.Start(calls[static_cast<std::size_t>(i)], "x", 50).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(world.Start(calls[4], "x", 50)));
  world.Run(60);
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(calls[static_cast<std::size_t>(i)].status));
    EXPECT_EQ(calls[static_cast<std::size_t>(i)].released, 1);
  }
  EXPECT_EQ(calls[4].done, 0);
}

TEST(Fit, ABadCallIsRefusedAndNotTaken) {
  World world;
  ASSERT_TRUE(world.Connect());
  TestCall call;
  std::vector<std::byte> too_long(5000);
  EXPECT_TRUE(absl::IsInvalidArgument(world.connection->Start(wire::Opcode::kTrim, too_long, {}, world.In(10), call)));
  Mapping memory = *Mapping::Anonymous(kPageBytes);
  auto region = *world.client_shard->Register(memory.bytes());
  fabric::Slice beyond{region.get(), 100, kPageBytes}, half{region.get(), 0, 100};
  EXPECT_TRUE(absl::IsInvalidArgument(world.connection->Start(wire::Opcode::kWriteBack, {}, std::span(&beyond, 1), world.In(10), call)));
  EXPECT_TRUE(absl::IsInvalidArgument(world.connection->Start(wire::Opcode::kWriteBack, {}, std::span(&half, 1), world.In(10), call)));
  EXPECT_TRUE(absl::IsInvalidArgument(world.connection->Start(static_cast<wire::Opcode>(99), {}, {}, world.In(10), call)));
  world.Run(20);
  EXPECT_EQ(call.done, 0);
}

TEST(Fit, OutOfOrderHandlersAnswerTheirOwnCaller) {
  World world;
  ASSERT_TRUE(world.Connect());
  std::vector<std::pair<std::string, ReplyWriter>> waiting;
  world.handler.on_request = [&](const RequestView& request, ReplyWriter reply) {
    waiting.emplace_back(Text(request.payload), std::move(reply));
  };
  std::vector<TestCall> calls(32);
  for (std::size_t i = 0; i < calls.size(); ++i) ASSERT_TRUE(world.Start(calls[i], "call " + std::to_string(i)).ok());
  ASSERT_TRUE(world.RunUntil([&] { return waiting.size() == 32; }, 10));
  std::shuffle(waiting.begin(), waiting.end(), std::mt19937(1));
  for (auto& [text, reply] : waiting) {
    std::memcpy(reply.payload().data(), text.data(), text.size());
    reply.Send(Code::kOk, static_cast<std::uint32_t>(text.size()));
    world.Turn();
  }
  ASSERT_TRUE(world.RunUntil([&] { return std::ranges::all_of(calls, [](auto& c) { return c.released == 1; }); }, 10));
  for (std::size_t i = 0; i < calls.size(); ++i) EXPECT_EQ(Text(calls[i].payload), "call " + std::to_string(i));
}

TEST(Fit, ReadsNeverQueueBehindWrites) {
  World world;
  ASSERT_TRUE(world.Connect());
  Mapping memory = *Mapping::Anonymous(kPageBytes);
  auto region = *world.client_shard->Register(memory.bytes());
  fabric::Slice page{region.get(), 0, kPageBytes};
  world.handler.on_request = [&](const RequestView& request, ReplyWriter reply) {
    if (request.opcode == wire::Opcode::kWriteBack) return world.kept.push_back(std::move(reply));
    reply.Send(Code::kOk);
  };
  std::vector<TestCall> writes(100), dry(100);
  for (TestCall& call : writes)
    ASSERT_TRUE(world.connection->Start(wire::Opcode::kWriteBack, {}, std::span(&page, 1), world.In(1000), call).ok());
  for (TestCall& call : dry) ASSERT_TRUE(world.connection->Start(wire::Opcode::kWriteBack, {}, {}, world.In(1000), call).ok());
  world.Run(3);
  EXPECT_EQ(world.kept.size(), 6u);  // 8 bulk slots − 2; the one without bulk stand behind, in order
  TestCall fetch, trim;
  ASSERT_TRUE(world.Start(fetch, "f", 10, wire::Opcode::kFetchPages).ok());
  ASSERT_TRUE(world.Start(trim, "t", 10).ok());
  ASSERT_TRUE(world.RunUntil([&] { return fetch.released + trim.released == 2; }, 5));
  EXPECT_TRUE(fetch.status.ok()) << fetch.status;
  EXPECT_TRUE(trim.status.ok()) << trim.status;
  while (world.RunUntil([&] { return !world.kept.empty(); }, 5)) {
    ReplyWriter reply = std::move(world.kept.back());
    world.kept.pop_back();
    reply.Send(Code::kOk);
  }
  EXPECT_TRUE(std::ranges::all_of(writes, [](auto& c) { return c.released == 1 && c.status.ok(); }));
  EXPECT_TRUE(std::ranges::all_of(dry, [](auto& c) { return c.released == 1 && c.status.ok(); }));
}

TEST(Fit, OneSidedReadBringsEveryPiece) {
  World world;
  ASSERT_TRUE(world.Connect());
  Mapping pool = *Mapping::Anonymous(kExtentBytes);
  auto pool_region = *world.server_shard->Register(pool.bytes());
  for (std::size_t i = 0; i < pool.bytes().size(); ++i) pool.bytes()[i] = static_cast<std::byte>(i / kPageBytes * 7 + 1);
  fabric::RemoteWindow window;
  std::weak_ptr<Session> session;
  world.handler.on_request = [&](const RequestView& request, ReplyWriter reply) {
    window = *request.session->Grant({pool_region.get(), 0, kExtentBytes}, fabric::Access::kRemoteRead);
    session = request.session;
    reply.Send(Code::kOk);
  };
  TestCall map;
  ASSERT_TRUE(world.Start(map, "m", 100, wire::Opcode::kMapExtents).ok());
  ASSERT_TRUE(world.RunUntil([&] { return map.released == 1; }, 10));

  Mapping frames = *Mapping::Anonymous(300 * kPageBytes);
  auto region = *world.client_shard->Register(frames.bytes());
  std::vector<RemoteCopy> pieces;  // more than may be under way at one time
  for (std::uint64_t i = 0; i < 300; ++i) pieces.push_back({window, (i * 3) * kPageBytes, {region.get(), i * kPageBytes, kPageBytes}});
  TestCall read;
  ASSERT_TRUE(world.connection->Read(pieces, world.In(100), read).ok());
  ASSERT_TRUE(world.RunUntil([&] { return read.released == 1; }, 50));
  ASSERT_TRUE(read.status.ok()) << read.status;
  for (std::size_t i = 0; i < 300; ++i) ASSERT_EQ(frames.bytes()[i * kPageBytes + 17], static_cast<std::byte>(i * 3 * 7 + 1)) << i;

  // Revoked: the window is dead, and reading through it costs the connection.
  bool revoked = false;
  session.lock()->Revoke(window, [&] { revoked = true; });
  ASSERT_TRUE(world.RunUntil([&] { return revoked; }, 10));
  TestCall late;
  ASSERT_TRUE(world.connection->Read(std::span(pieces).first(2), world.In(100), late).ok());
  ASSERT_TRUE(world.RunUntil([&] { return late.released == 1; }, 1000));
  EXPECT_TRUE(absl::IsUnavailable(late.status)) << late.status;
  ASSERT_TRUE(world.RunUntil([&] { return world.ups == 2; }));
  // A window ends with its endpoint, also for who still asks.
  EXPECT_TRUE(session.expired());
}

TEST(Fit, AReadOutOfBoundsOrUnconnectedIsRefusedHere) {
  World world;
  world.StartClient();
  Mapping frames = *Mapping::Anonymous(kPageBytes);
  auto region = *world.client_shard->Register(frames.bytes());
  RemoteCopy piece{{fabric::RemoteKey(1), 0, kPageBytes}, 0, {region.get(), 0, kPageBytes}};
  TestCall call;
  EXPECT_TRUE(absl::IsFailedPrecondition(world.connection->Read(std::span(&piece, 1), world.In(10), call)));
  world.StartServer();
  ASSERT_TRUE(world.RunUntil([&] { return world.ups == 1; }));
  piece.offset = 1;
  EXPECT_TRUE(absl::IsInvalidArgument(world.connection->Read(std::span(&piece, 1), world.In(10), call)));
  piece.offset = ~std::uint64_t{0};
  EXPECT_TRUE(absl::IsInvalidArgument(world.connection->Read(std::span(&piece, 1), world.In(10), call)));
  world.Run(20);
  EXPECT_EQ(call.done, 0);
}

TEST(Fit, CancelEndsACallAndGivesTheSlotBackWithTheReply) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  TestCall call;
  ASSERT_TRUE(world.Start(call, "x").ok());
  ASSERT_TRUE(world.RunUntil([&] { return world.kept.size() == 1; }, 5));
  world.connection->Cancel(call);
  EXPECT_TRUE(absl::IsCancelled(call.status));
  world.connection->Cancel(call);  // nothing
  EXPECT_EQ(call.done, 1);
  world.Run(5);
  EXPECT_EQ(world.Stat("fit_quarantined"), 1u);
  world.kept.clear();
  world.Run(5);
  EXPECT_EQ(world.Stat("fit_quarantined"), 0u);
  EXPECT_EQ(world.Stat("fit_slots_in_use"), 0u);
}

}  // namespace
}  // namespace ashlar::fit
