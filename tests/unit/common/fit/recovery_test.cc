// What happens to calls when deadlines, links and peers fail. Names in FitRegression are those of the design's list of
// what LegoOS's transport died of.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/base/mapping.h"
#include "common/fit/handshake.h"
#include "tests/unit/common/fit/world.h"

namespace ashlar::fit {
namespace {

using wire::Opcode;

TEST(FitRegression, PeerAbsentAtStart) {
  World world;
  world.StartClient();
  TestCall short_call, long_call;
  ASSERT_TRUE(world.Start(short_call, "s", 1000).ok());
  ASSERT_TRUE(world.Start(long_call, "l", 20'000).ok());
  world.Run(5000);
  EXPECT_TRUE(absl::IsDeadlineExceeded(short_call.status));
  EXPECT_EQ(long_call.done, 0);
  EXPECT_LT(world.links_asked, 20) << "the back-off grows";
  world.StartServer();
  ASSERT_TRUE(world.RunUntil([&] { return long_call.released == 1; }, 2100));
  EXPECT_TRUE(long_call.status.ok()) << long_call.status;
}

TEST(FitRegression, PeerThatRestartsInALoopIsFoundInTheEnd) {
  World world;
  world.StartClient();
  TestCall call;
  ASSERT_TRUE(world.Start(call, "x", 60'000).ok());
  world.handler.on_request = [](const RequestView&, ReplyWriter) { FAIL() << "not yet"; };
  for (std::uint64_t incarnation = 1; incarnation < 10; ++incarnation) {
    world.StartServer(incarnation);
    for (std::uint64_t turn = 0; turn < incarnation % 4; ++turn) world.Turn();
    world.StopServer();
    world.Run(50);
  }
  world.handler.on_request = nullptr;
  world.StartServer(10);
  ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 5000));
  EXPECT_TRUE(call.status.ok()) << call.status;
}

TEST(FitRegression, AnOpenerThatNeverAnswersIsAskedAgain) {
  World world;
  world.StartServer();
  absl::AnyInvocable<void(absl::StatusOr<LinkGrant>)> lost;
  world.on_open = [&](auto done) { lost = std::move(done); };
  world.StartClient();
  world.Run(9000);
  EXPECT_EQ(world.links_asked, 1);
  world.on_open = nullptr;
  ASSERT_TRUE(world.RunUntil([&] { return world.ups == 1; }));
  lost(world.server->IssueLink({World::kClientNode, Incarnation(7), 0}));  // too late: not used
  world.Run(10);
  EXPECT_EQ(world.ups, 1);
  EXPECT_EQ(world.connection->state(), LinkState::kUp);
}

TEST(Fit, DeadlinesEndWithinATick) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  std::vector<TestCall> calls(12);
  std::vector<std::uint64_t> ended(12);
  std::uint64_t start = world.clock.NowNs();
  for (std::size_t i = 0; i < calls.size(); ++i) {
    calls[i].on_done = [&, i] { ended[i] = world.clock.NowNs(); };
    ASSERT_TRUE(world.Start(calls[i], "x", static_cast<int>(7 * i + 1)).ok());
  }
  world.Run(100);
  for (std::size_t i = 0; i < calls.size(); ++i) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(calls[i].status));
    EXPECT_GE(ended[i], start + (7 * i + 1) * 1'000'000);
    EXPECT_LE(ended[i], start + (7 * i + 2) * 1'000'000);
  }
}

TEST(FitRegression, LateReplyAfterTimeoutIsHarmless) {
  World world;
  ASSERT_TRUE(world.Connect());
  std::vector<ReplyWriter>& kept = world.kept;
  world.handler.on_request = [&](const RequestView& request, ReplyWriter reply) {
    std::memset(reply.payload().data(), 0xEE, 64);
    if (request.opcode == Opcode::kFetchPages) std::memset(reply.bulk().data(), 0xEE, kPageBytes);
    kept.push_back(std::move(reply));
  };
  for (int round = 0; round < 10'000; ++round) {
    auto call = std::make_unique<TestCall>();
    std::vector<std::byte> canary(64, std::byte{0xCA});
    call->payload = canary;
    bool fetch = round % 3 == 0;
    ASSERT_TRUE(world.Start(*call, "x", 1, fetch ? Opcode::kFetchPages : Opcode::kTrim).ok());
    ASSERT_TRUE(world.RunUntil([&] { return call->released == 1; }, 3)) << round;
    ASSERT_TRUE(absl::IsDeadlineExceeded(call->status));
    call.reset();  // its memory is somebody else's from here on
    ASSERT_EQ(world.Stat("fit_quarantined"), 1u);
    ASSERT_EQ(kept.size(), 1u);
    kept.back().Send(Code::kOk, 64, fetch ? kPageBytes : 0);
    kept.clear();
    for (int turn = 0; turn < 4; ++turn) world.Turn();
    ASSERT_EQ(world.Stat("fit_quarantined"), 0u) << round;
    ASSERT_EQ(world.Stat("fit_slots_in_use"), 0u) << round;
  }
  EXPECT_EQ(world.ups, 1) << "nothing of it costs the connection";
}

TEST(Fit, WhatWasNotBegunIsCancelledAndItsSlotComesBack) {
  World world;
  ASSERT_TRUE(world.Connect());
  // The first call's handler runs on over a lost link; the second one waits behind it in the same slot.
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  TestCall first, second;
  ASSERT_TRUE(world.Start(first, "1", 3).ok());
  ASSERT_TRUE(world.RunUntil([&] { return world.kept.size() == 1; }, 1));
  world.network.Cut(world.ClientEnd());
  ASSERT_TRUE(world.RunUntil([&] { return first.released == 1; }, 4));
  ASSERT_TRUE(world.RunUntil([&] { return world.ups == 2; }));
  ASSERT_TRUE(world.Start(second, "2", 20).ok());
  ASSERT_TRUE(world.RunUntil([&] { return second.released == 1; }, 30));
  EXPECT_TRUE(absl::IsDeadlineExceeded(second.status));
  world.Run(3);
  EXPECT_EQ(world.handler.handled, 1) << "never begun";
  EXPECT_EQ(world.ServerStat("fit_cancelled_total"), 1u);
  EXPECT_EQ(world.Stat("fit_quarantined"), 0u);
  world.kept.clear();
  world.handler.on_request = nullptr;
  TestCall third;
  ASSERT_TRUE(world.Start(third, "3").ok());
  ASSERT_TRUE(world.RunUntil([&] { return third.released == 1; }, 10));
  EXPECT_EQ(Text(third.payload), "3");
}

TEST(Fit, ACallBehindARunningOlderOneBeginsWhenThatEnds) {
  World world({.address = "server", .slots = 1, .bulk_slots = 1});
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView& request, ReplyWriter reply) {
    if (Text(request.payload) == "old") return world.kept.push_back(std::move(reply));
    TestHandler::Echo(request, std::move(reply));
  };
  TestCall old_call, new_call;
  ASSERT_TRUE(world.Start(old_call, "old", 3).ok());
  ASSERT_TRUE(world.RunUntil([&] { return world.kept.size() == 1; }, 1));
  world.network.Cut(world.ClientEnd());
  ASSERT_TRUE(world.RunUntil([&] { return old_call.released == 1 && world.ups == 2; }));
  ASSERT_TRUE(world.Start(new_call, "new", 500).ok());
  world.Run(20);
  EXPECT_EQ(new_call.done, 0);
  world.kept.back().Send(Code::kOk);
  world.kept.clear();
  ASSERT_TRUE(world.RunUntil([&] { return new_call.released == 1; }, 10));
  EXPECT_EQ(Text(new_call.payload), "new");
}

TEST(FitRegression, FailedEndpointIsReplaced) {
  World world;
  ASSERT_TRUE(world.Connect());
  std::uint64_t first_epoch = world.last_epoch;
  for (int round = 0; round < 20; ++round) {
    int ups = world.ups;
    world.network.Cut(world.ClientEnd());
    ASSERT_TRUE(world.RunUntil([&] { return world.ups == ups + 1; })) << round;
    TestCall call;
    ASSERT_TRUE(world.Start(call, "x", 100).ok());
    ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 10));
    EXPECT_TRUE(call.status.ok());
  }
  EXPECT_EQ(world.downs, 20);
  EXPECT_GT(world.last_epoch, first_epoch);
  EXPECT_EQ(world.network.endpoints().size(), 2u) << "none is left over";
}

TEST(FitRegression, TransportGivesUpBeforeTheCall) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView& request, ReplyWriter reply) {
    TestHandler::Echo(request, std::move(reply));
  };
  world.network.Hold(world.ServerEnd());  // a peer that is there and says nothing
  world.network.Hold(world.ClientEnd());
  TestCall call;
  ASSERT_TRUE(world.Start(call, "x", 30'000).ok());
  std::uint64_t start = world.clock.NowNs();
  ASSERT_TRUE(world.RunUntil([&] { return world.downs == 1; }, 1000));
  EXPECT_LE(world.clock.NowNs() - start, 700'000'000u);
  ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 2000));
  EXPECT_TRUE(call.status.ok()) << call.status;
  EXPECT_GE(world.Stat("fit_resend_total", "class=A"), 1u);
}

TEST(Fit, AnIdleLinkStaysUpByKeepAlives) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.Run(10'000);
  EXPECT_EQ(world.downs, 0);
  EXPECT_THAT(world.Stat("fit_keep_alive_total"), testing::AllOf(testing::Ge(90u), testing::Le(101u)));
}

TEST(Fit, ASlowHandlerIsNotSilence) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  std::vector<TestCall> calls(16);
  for (TestCall& call : calls) {
    ASSERT_TRUE(world.Start(call, "x", 10'000).ok());
    world.Run(50);  // sends often, hears nothing but keep-alives
  }
  world.Run(3000);
  EXPECT_EQ(world.downs, 0);
  for (ReplyWriter& reply : world.kept) reply.Send(Code::kOk);
  ASSERT_TRUE(world.RunUntil([&] { return std::ranges::all_of(calls, [](auto& c) { return c.released == 1; }); }, 10));
  EXPECT_TRUE(std::ranges::all_of(calls, [](auto& c) { return c.status.ok(); }));
}

TEST(Fit, AClientThatStoodStillDoesNotBlameItsPeer) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.clock.Advance(absl::Milliseconds(1500));  // nobody polled
  world.Run(300);
  EXPECT_EQ(world.downs, 0);
}

TEST(Fit, AHandlersAnswerGoesOverTheEndpointThatAskedLast) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  TestCall call;
  ASSERT_TRUE(world.Start(call, "x", 5000).ok());
  ASSERT_TRUE(world.RunUntil([&] { return world.kept.size() == 1; }, 5));
  world.network.Cut(world.ClientEnd());
  ASSERT_TRUE(world.RunUntil([&] { return world.ups == 2; }));
  world.Run(5);
  EXPECT_EQ(world.handler.handled, 1) << "the running one will answer";
  world.kept[0].payload()[0] = std::byte{'!'};
  world.kept[0].Send(Code::kOk, 1);
  ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 10));
  EXPECT_EQ(Text(call.payload), "!");
}

TEST(Fit, ALostAnswerIsReplayedAndAtMostOnceMeansOnce) {
  for (Opcode opcode : {Opcode::kUnmapExtents, Opcode::kTrim, Opcode::kMapExtents}) {
    World world;
    ASSERT_TRUE(world.Connect());
    world.handler.on_request = [&](const RequestView& request, ReplyWriter reply) {
      if (world.handler.handled == 1) world.network.Hold(world.ServerEnd());  // the answer is lost on its way
      TestHandler::Echo(request, std::move(reply));
    };
    TestCall call;
    ASSERT_TRUE(world.Start(call, "once", 5000, opcode).ok());
    ASSERT_TRUE(world.RunUntil([&] { return world.handler.handled == 1; }, 5));
    world.Run(2);
    world.network.Cut(world.ClientEnd());
    ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 1000));
    EXPECT_TRUE(call.status.ok()) << call.status;
    EXPECT_EQ(Text(call.payload), "once");
    // Grants died with the endpoint, so MapExtents is asked anew.
    EXPECT_EQ(world.handler.handled, opcode == Opcode::kMapExtents ? 2 : 1);
    EXPECT_EQ(world.ServerStat("fit_reply_replayed_total"), opcode == Opcode::kMapExtents ? 0u : 1u);
  }
}

TEST(Fit, ARestartedServerGetsIdempotentCallsOnly) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  TestCall trim, unmap, queued_unmap;
  ASSERT_TRUE(world.Start(trim, "t", 5000, Opcode::kTrim).ok());
  ASSERT_TRUE(world.Start(unmap, "u", 5000, Opcode::kUnmapExtents).ok());
  ASSERT_TRUE(world.RunUntil([&] { return world.kept.size() == 2; }, 5));
  world.StopServer();
  world.Run(5);
  ASSERT_TRUE(world.Start(queued_unmap, "q", 5000, Opcode::kUnmapExtents).ok());  // never sent: still free to go
  bool trim_is_resend = false;
  world.handler.on_request = [&](const RequestView& request, ReplyWriter reply) {
    if (request.opcode == Opcode::kTrim) trim_is_resend = request.resend;
    TestHandler::Echo(request, std::move(reply));
  };
  world.StartServer(2);
  ASSERT_TRUE(world.RunUntil([&] { return trim.released + unmap.released + queued_unmap.released == 3; }, 3000));
  EXPECT_EQ(Text(trim.payload), "t");
  EXPECT_TRUE(trim_is_resend);
  EXPECT_TRUE(absl::IsAborted(unmap.status)) << unmap.status;
  EXPECT_EQ(unmap.code, Code::kOutcomeUnknown);
  EXPECT_EQ(Text(queued_unmap.payload), "q");
  EXPECT_EQ(world.connection->server_incarnation(), Incarnation(2));
}

TEST(Fit, AForgottenRecordMeansOutcomeUnknown) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  TestCall unmap;
  ASSERT_TRUE(world.Start(unmap, "u", 5000, Opcode::kUnmapExtents).ok());
  ASSERT_TRUE(world.RunUntil([&] { return world.kept.size() == 1; }, 5));
  world.server.reset();  // the same incarnation comes back without its memory
  world.kept.clear();
  world.Run(5);
  world.StartServer(1);
  ASSERT_TRUE(world.RunUntil([&] { return unmap.released == 1; }, 3000));
  EXPECT_EQ(unmap.code, Code::kOutcomeUnknown);
  EXPECT_EQ(world.handler.handled, 1);
}

TEST(Fit, ANewConnectionOfTheSameClientIsNotTakenForTheOldOne) {
  World world;
  ASSERT_TRUE(world.Connect());
  for (int i = 0; i < 3; ++i) {
    TestCall call;
    ASSERT_TRUE(world.Start(call, std::to_string(i)).ok());
    ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 2000));
    EXPECT_EQ(Text(call.payload), std::to_string(i));
    world.connection.reset();
    world.StartClient();
  }
  EXPECT_EQ(world.handler.handled, 3);
}

TEST(Fit, LentBulkIsReleasedOnlyWhenNoWorkRequestNamesIt) {
  World world;
  ASSERT_TRUE(world.Connect());
  Mapping memory = *Mapping::Anonymous(kPageBytes);
  auto region = *world.client_shard->Register(memory.bytes());
  fabric::Slice page{region.get(), 0, kPageBytes};
  world.network.Hold(world.ServerEnd());  // no acknowledgement comes
  TestCall write;
  ASSERT_TRUE(world.connection->Start(Opcode::kWriteBack, {}, std::span(&page, 1), world.In(10), write).ok());
  ASSERT_TRUE(world.RunUntil([&] { return write.done == 1; }, 15));
  EXPECT_TRUE(absl::IsDeadlineExceeded(write.status));
  world.Run(50);
  EXPECT_EQ(write.released, 0) << "a timeout gives nothing back";
  world.network.Release(world.ServerEnd());
  ASSERT_TRUE(world.RunUntil([&] { return write.released == 1; }, 5));

  // And by the destruction of the endpoint.
  world.network.Hold(world.ServerEnd());
  TestCall lost;
  ASSERT_TRUE(world.connection->Start(Opcode::kWriteBack, {}, std::span(&page, 1), world.In(10), lost).ok());
  world.Run(20);
  EXPECT_EQ(lost.released, 0);
  world.network.Cut(world.ClientEnd());
  ASSERT_TRUE(world.RunUntil([&] { return lost.released == 1; }, 600));
}

TEST(Fit, ReadsUnderAFailingLinkEndOnceAndAreReleasedBehind) {
  World world;
  ASSERT_TRUE(world.Connect());
  Mapping pool = *Mapping::Anonymous(kPageBytes);
  auto pool_region = *world.server_shard->Register(pool.bytes());
  fabric::RemoteWindow window;
  world.handler.on_request = [&](const RequestView& request, ReplyWriter reply) {
    window = *request.session->Grant({pool_region.get(), 0, kPageBytes}, fabric::Access::kRemoteRead);
    reply.Send(Code::kOk);
  };
  TestCall map;
  ASSERT_TRUE(world.Start(map, "m", 100, Opcode::kMapExtents).ok());
  ASSERT_TRUE(world.RunUntil([&] { return map.released == 1; }, 5));
  Mapping frames = *Mapping::Anonymous(200 * kPageBytes);
  auto region = *world.client_shard->Register(frames.bytes());
  std::vector<RemoteCopy> pieces;
  for (std::uint64_t i = 0; i < 200; ++i) pieces.push_back({window, 0, {region.get(), i * kPageBytes, kPageBytes}});
  world.network.Hold(world.ServerEnd());
  TestCall expired, lost;
  ASSERT_TRUE(world.connection->Read(pieces, world.In(5), expired).ok());
  ASSERT_TRUE(world.connection->Read(pieces, world.In(5000), lost).ok());
  world.Run(10);
  EXPECT_TRUE(absl::IsDeadlineExceeded(expired.status));
  EXPECT_EQ(expired.released, 0);
  world.network.Cut(world.ClientEnd());
  ASSERT_TRUE(world.RunUntil([&] { return expired.released + lost.released == 2; }, 600));
  EXPECT_TRUE(absl::IsUnavailable(lost.status)) << lost.status;
  EXPECT_EQ(lost.done, 1);
  EXPECT_TRUE(lost.released_after_done);
}

TEST(Fit, DestroyingAConnectionEndsEveryCall) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  Mapping memory = *Mapping::Anonymous(kPageBytes);
  auto region = *world.client_shard->Register(memory.bytes());
  fabric::Slice page{region.get(), 0, kPageBytes};
  std::vector<TestCall> calls(100);
  absl::Status inside;
  TestCall never;
  calls[0].on_done = [&] { inside = world.Start(never, "x"); };
  for (std::size_t i = 0; i < calls.size(); ++i) {
    if (i % 2 == 0) {
      ASSERT_TRUE(world.Start(calls[i], "x", 5000).ok());
    } else {
      ASSERT_TRUE(world.connection->Start(Opcode::kWriteBack, {}, std::span(&page, 1), world.In(5000), calls[i]).ok());
    }
  }
  world.Run(3);
  Connection* connection = world.connection.get();
  calls[0].on_done = [&, connection] { inside = connection->Start(Opcode::kTrim, {}, {}, world.In(10), never); };
  world.connection.reset();
  for (TestCall& call : calls) {
    EXPECT_TRUE(absl::IsCancelled(call.status)) << call.status;
    EXPECT_EQ(call.done, 1);
    EXPECT_EQ(call.released, 1);
    EXPECT_TRUE(call.released_after_done);
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(inside));
  world.kept.clear();  // answers to nobody
  ASSERT_TRUE(world.RunUntil([&] { return world.handler.clients_down == 1; }, 3000));
}

TEST(Fit, AnswersAfterTheServerIsGoneAreHarmless) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  TestCall call;
  ASSERT_TRUE(world.Start(call, "x", 100).ok());
  ASSERT_TRUE(world.RunUntil([&] { return world.kept.size() == 1; }, 5));
  world.server.reset();
  world.kept[0].payload()[0] = std::byte{1};
  world.kept[0].Send(Code::kOk, 1);
  world.kept.clear();
  ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 200));
}

TEST(Fit, TooManyQuarantinedSlotsCostTheEndpoint) {
  World world;
  ASSERT_TRUE(world.Connect());
  world.handler.on_request = [&](const RequestView&, ReplyWriter reply) { world.kept.push_back(std::move(reply)); };
  std::vector<TestCall> calls(20);
  for (TestCall& call : calls) ASSERT_TRUE(world.Start(call, "x", 5).ok());
  ASSERT_TRUE(world.RunUntil([&] { return world.downs == 1; }, 10));
  ASSERT_TRUE(world.RunUntil([&] { return world.ups == 2; }));
  EXPECT_EQ(world.Stat("fit_slots_in_use"), 0u);
  world.handler.on_request = nullptr;
  TestCall fresh;  // a slot whose old handler still runs is no trap: others are tried first or it waits
  world.kept.clear();
  ASSERT_TRUE(world.Start(fresh, "fresh", 100).ok());
  ASSERT_TRUE(world.RunUntil([&] { return fresh.released == 1; }, 10));
  EXPECT_TRUE(fresh.status.ok()) << fresh.status;
}

TEST(FitSecurity, TheServerMustProveItselfToo) {
  World world;
  world.StartServer();
  world.on_open = [&](auto done) {
    LinkGrant grant = *world.server->IssueLink({World::kClientNode, Incarnation(7), 0});
    if (world.links_asked == 1) grant.token[0] ^= std::byte{1};     // not the token of that id
    if (world.links_asked == 2) grant.connection_epoch += 1;        // another link's
    if (world.links_asked == 3) grant.server_node = NodeId(0xBAD);  // another node's
    done(grant);
  };
  world.StartClient();
  TestCall call;
  ASSERT_TRUE(world.Start(call, "x").ok());
  ASSERT_TRUE(world.RunUntil([&] { return call.released == 1; }, 1000));
  EXPECT_EQ(world.links_asked, 4);
  EXPECT_EQ(world.ServerStat("fit_refused_hello_total"), 2u);
}

TEST(FitSecurity, ATokenBindsToTheClientItWasIssuedFor) {
  World world;
  world.StartServer();
  world.on_open = [&](auto done) {
    Client whose{World::kClientNode, Incarnation(7), 0};
    if (world.links_asked == 1) whose.node = NodeId(0xBAD);
    if (world.links_asked == 2) whose.incarnation = Incarnation(6);
    if (world.links_asked == 3) whose.shard = 1;
    done(world.server->IssueLink(whose));
  };
  world.StartClient();
  ASSERT_TRUE(world.RunUntil([&] { return world.links_asked == 4 && world.connection->state() == LinkState::kUp; }, 3000));
  EXPECT_EQ(world.ServerStat("fit_reject_total", "reason=arena_hello"), 2u);
  EXPECT_EQ(world.handler.handled, 0);
}

TEST(Fit, ANewIncarnationOfTheClientEndsTheOldOnes) {
  World world;
  ASSERT_TRUE(world.Connect());
  auto device = world.network.OpenDevice();
  auto shard = *Shard::Create(*device, {.node = World::kClientNode, .incarnation = Incarnation(8), .clock = &world.clock});
  world.on_open = [&](auto done) { done(world.server->IssueLink({World::kClientNode, Incarnation(8), 0})); };
  auto connection = *Connection::Create(*shard, {.peer = "m1", .server_node = World::kServerNode}, world, nullptr);
  ASSERT_TRUE(world.RunUntil([&] {
    shard->Poll();
    return connection->state() == LinkState::kUp;
  }));
  EXPECT_EQ(world.handler.clients_down, 1);
  ASSERT_TRUE(world.RunUntil([&] { return world.downs == 1; }, 100)) << "the old one is cut off";
}

}  // namespace
}  // namespace ashlar::fit
