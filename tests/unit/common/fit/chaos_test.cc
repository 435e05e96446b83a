// FIT over a transport that does everything wrong that a transport can: each call still ends, once, in time, and what may run
// only once runs only once.
#include <map>
#include <random>

#include <gtest/gtest.h>

#include "common/fabric/chaos/device.h"
#include "tests/unit/common/fit/world.h"

namespace ashlar::fit {
namespace {

using fabric::chaos::FaultPlan;
using fabric::chaos::FaultPoint;
using wire::Opcode;

World::Wrap In(FaultPlan& plan) {
  return [&plan](std::unique_ptr<fabric::Device> device) { return fabric::WrapInChaos(std::move(device), plan); };
}

enum class Side { kClient, kServer };

std::unique_ptr<World> MakeWorld(FaultPlan& plan, Side side) {
  return std::make_unique<World>(ServerOptions{.address = "server"}, ConnectionOptions{}, side == Side::kClient ? In(plan) : World::Wrap{},
                                 side == Side::kServer ? In(plan) : World::Wrap{});
}

// Counts what ran, by the call's own text.
void CountEffects(World& world, std::map<std::string, int>& effects) {
  world.handler.on_request = [&effects](const RequestView& request, ReplyWriter reply) {
    ++effects[Text(request.payload)];
    TestHandler::Echo(request, std::move(reply));
  };
}

// A frame that arrives and is not seen for what it is: no reliable transport does that, so FIT does not ask again on a living
// link. The call it belonged to ends at its deadline, and its slot rests until the endpoint ends.
bool LosesAFrame(FaultPoint point) {
  return point == FaultPoint::kCompletionLost || point == FaultPoint::kFlipImm || point == FaultPoint::kWrongGeneration;
}

// One fault of one kind at one moment: a call that may be repeated ends well all the same, one that may not ends well or says
// that nobody knows, and ran at most once; and the link is there again.
void ExpectSurvived(FaultPoint point, std::uint64_t occasion, Side side) {
  SCOPED_TRACE(::testing::Message() << Name(point) << " at " << occasion << (side == Side::kClient ? " of the client" : " of the server"));
  FaultPlan plan(occasion);
  plan.At(point, occasion);
  std::unique_ptr<World> world = MakeWorld(plan, side);
  std::map<std::string, int> effects;
  CountEffects(*world, effects);
  world->StartServer();
  world->StartClient();
  std::vector<std::unique_ptr<TestCall>> repeatable, once;
  for (int i = 0; i < 6; ++i) {
    repeatable.push_back(std::make_unique<TestCall>());
    once.push_back(std::make_unique<TestCall>());
    ASSERT_TRUE(world->Start(*repeatable.back(), "a" + std::to_string(i), 20'000, Opcode::kTrim).ok());
    ASSERT_TRUE(world->Start(*once.back(), "b" + std::to_string(i), 20'000, Opcode::kUnmapExtents).ok());
    world->Run(3);
  }
  const auto all_ended = [&] {
    for (const auto* calls : {&repeatable, &once})
      for (const auto& call : *calls)
        if (call->released != 1) return false;
    return true;
  };
  ASSERT_TRUE(world->RunUntil(all_ended, 20'100));
  std::size_t overdue = 0;
  for (std::size_t i = 0; i < once.size(); ++i) {
    overdue += absl::IsDeadlineExceeded(repeatable[i]->status) + absl::IsDeadlineExceeded(once[i]->status);
    EXPECT_TRUE(repeatable[i]->status.ok() || absl::IsDeadlineExceeded(repeatable[i]->status)) << i << " " << repeatable[i]->status;
    if (repeatable[i]->status.ok()) {
      EXPECT_EQ(Text(repeatable[i]->payload), "a" + std::to_string(i));
    }
    EXPECT_TRUE(once[i]->status.ok() || absl::IsAborted(once[i]->status) || absl::IsDeadlineExceeded(once[i]->status)) << i << " " << once[i]->status;
    EXPECT_LE(effects["b" + std::to_string(i)], 1);
    if (once[i]->status.ok()) {
      EXPECT_EQ(effects["b" + std::to_string(i)], 1);
    }
  }
  EXPECT_LE(overdue, LosesAFrame(point) ? 1u : 0u);
  ASSERT_TRUE(world->RunUntil([&] { return world->connection->state() == LinkState::kUp; }, 10'000));
  TestCall after;
  ASSERT_TRUE(world->Start(after, "after", 20'000).ok());
  ASSERT_TRUE(world->RunUntil([&] { return after.released == 1; }, 20'000));
  EXPECT_TRUE(after.status.ok()) << after.status;
  EXPECT_TRUE(world->RunUntil([&] { return world->Stat("fit_slots_in_use") <= overdue; }, 5'000)) << "a slot is lost";
}

class FitChaos : public ::testing::TestWithParam<FaultPoint> {};

TEST_P(FitChaos, EachFaultAtEachMomentIsSurvived) {
  for (const std::uint64_t occasion : {1, 2, 3, 4, 6, 9, 14})
    for (const Side side : {Side::kClient, Side::kServer}) {
      ExpectSurvived(GetParam(), occasion, side);
      if (HasFailure()) return;
    }
}

std::vector<FaultPoint> AllPoints() {
  std::vector<FaultPoint> points;
  for (std::size_t i = 0; i < fabric::chaos::kFaultPoints; ++i) points.push_back(static_cast<FaultPoint>(i));
  return points;
}

INSTANTIATE_TEST_SUITE_P(Points, FitChaos, ::testing::ValuesIn(AllPoints()), [](const auto& param) {
  std::string name(Name(param.param));
  for (char& c : name)
    if (c == '.') c = '_';
  return name;
});

// LegoOS read an opcode and an immediate out of flushed completions and wrote through what it found. Here a failure has
// neither; whatever its status and vendor code, it ends the endpoint and nothing else.
TEST(FitRegression, PoisonedFlushIsOnlyAFailure) {
  for (std::uint64_t occasion = 1; occasion <= 24; ++occasion) {
    SCOPED_TRACE(occasion);
    FaultPlan plan(occasion * 7);
    plan.At(FaultPoint::kCompletionStatus, occasion);
    std::unique_ptr<World> world = MakeWorld(plan, Side::kClient);
    world->StartServer();
    world->StartClient();
    TestCall calls[8];
    for (TestCall& call : calls) ASSERT_TRUE(world->Start(call, "x", 10'000).ok());
    ASSERT_TRUE(world->RunUntil([&] { return std::ranges::all_of(calls, [](const TestCall& call) { return call.released == 1; }); }, 10'100));
    for (const TestCall& call : calls) EXPECT_TRUE(call.status.ok()) << call.status;
    if (plan.fired(FaultPoint::kCompletionStatus) > 0) {
      EXPECT_GE(world->Stat("fit_reconnect_total"), 1u);
    }
  }
}

// Random faults of all kinds on both sides, then calm: each call ended by its deadline and a little, and released once it was
// calm at the latest; nothing that may run once ran twice; the link carries on.
TEST(FitChaosSoak, EveryCallEndsInTimeAndOnceMeansOnce) {
  std::map<FaultPoint, std::uint64_t> fired;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    FaultPlan plan(seed);
    for (const FaultPoint point : AllPoints()) plan.Sometimes(point, 400);
    World world(ServerOptions{.address = "server"}, ConnectionOptions{}, In(plan), In(plan));
    std::map<std::string, int> effects;
    CountEffects(world, effects);
    world.StartServer();
    world.StartClient();
    struct Call {
      TestCall call;
      std::string text;
      bool once = false;
      std::uint64_t deadline_ns = 0, ended_ns = 0;
    };
    std::vector<std::unique_ptr<Call>> calls;
    std::mt19937_64 random(seed);
    for (int i = 0; i < 300; ++i) {
      auto call = std::make_unique<Call>();
      call->once = random() % 3 == 0;
      call->text = std::to_string(i);
      const int deadline_ms = 20 + static_cast<int>(random() % 3000);
      call->deadline_ns = world.In(deadline_ms).at_ns;
      call->call.on_done = [&world, raw = call.get()] { raw->ended_ns = world.clock.NowNs(); };
      const absl::Status started = world.Start(call->call, call->text, deadline_ms, call->once ? Opcode::kUnmapExtents : Opcode::kTrim);
      if (started.ok()) calls.push_back(std::move(call));
      world.Run(static_cast<int>(random() % 8));
    }
    plan.Calm();
    ASSERT_TRUE(world.RunUntil([&] { return std::ranges::all_of(calls, [](const auto& call) { return call->call.released == 1; }); }, 10'000));
    std::size_t well = 0;
    for (const auto& call : calls) {
      EXPECT_EQ(call->call.done, 1);
      EXPECT_TRUE(call->call.released_after_done);
      EXPECT_LE(call->ended_ns, call->deadline_ns + 50'000'000) << call->text;
      if (call->once) {
        EXPECT_LE(effects[call->text], 1) << call->text;
      }
      if (!call->call.status.ok()) continue;
      ++well;
      EXPECT_EQ(Text(call->call.payload), call->text) << "an answer of another call";
      EXPECT_GE(effects[call->text], 1);
    }
    EXPECT_GT(well, calls.size() / 4);
    ASSERT_TRUE(world.RunUntil([&] { return world.connection->state() == LinkState::kUp; }, 10'000));
    for (const FaultPoint point : AllPoints()) fired[point] += plan.fired(point);
  }
  for (const FaultPoint point : AllPoints()) {
    if (point == FaultPoint::kKeyRevoked || point == FaultPoint::kQueueOverrun || point == FaultPoint::kStaleEpoch) continue;  // rare here; above each is met
    EXPECT_GT(fired[point], 0u) << "no seed reached " << Name(point);
  }
}

}  // namespace
}  // namespace ashlar::fit
