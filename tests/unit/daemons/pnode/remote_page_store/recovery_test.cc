// A space loses its home: what the program may see of it, and what becomes of its pages.
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/daemons/pnode/remote_page_store/cluster.h"
#include "tests/unit/daemons/pnode/remote_page_store/storm.h"

namespace ashlar {
namespace {

using pnode::RehomeState;
constexpr SpaceId kSpace(5);

std::unique_ptr<Cluster> Started(Cluster::Options options) {
  auto cluster = std::make_unique<Cluster>(std::move(options));
  cluster->StartAll();
  EXPECT_TRUE(cluster->store->CreateSpace(kSpace).ok());
  return cluster;
}

TEST(Recovery, ALostHomeIsServedByTheSnodeAtOnceAndAnotherIsFilledBehind) {
  auto c = Started({.mnodes = 2, .store = {.write_back_timeout_ns = 300'000'000}});
  for (std::uint64_t page : {3, 4, 1500, 3000}) ASSERT_EQ(c->Write(kSpace, page, 1, static_cast<unsigned char>(page)), absl::OkStatus());
  const std::size_t home = c->HomeOf(kSpace);
  c->StopMnode(home);
  ASSERT_TRUE(c->RunUntil([&] { return c->StateOf(kSpace) != RehomeState::kServed; }, 400)) << "noticed";
  for (std::uint64_t page : {3, 4, 1500, 3000}) {
    ASSERT_EQ(c->Read(kSpace, page, 1), absl::OkStatus());
    EXPECT_TRUE(c->SlotIs(1, static_cast<unsigned char>(page)));
  }
  EXPECT_GE(c->StoreStat("store_fetched_pages_total", "by=storage"), 1u);
  ASSERT_TRUE(c->RunUntil([&] { return c->StateOf(kSpace) == RehomeState::kServed; }, 1000));
  EXPECT_EQ(c->HomeOf(kSpace), 1 - home);
  const std::uint64_t by_read = c->StoreStat("store_fetched_pages_total", "by=read");
  ASSERT_EQ(c->Read(kSpace, 1500, 1), absl::OkStatus());
  EXPECT_TRUE(c->SlotIs(1, static_cast<unsigned char>(1500)));
  EXPECT_EQ(c->StoreStat("store_fetched_pages_total", "by=read"), by_read + 1) << "one-sided again";
  EXPECT_EQ(c->Write(kSpace, 3, 2, 9), absl::OkStatus());
  EXPECT_EQ(c->StoreStat("store_extents_refilled_total"), 3u);
  EXPECT_TRUE(c->lost.empty());
}

TEST(Recovery, ARestartedHomeIsAnotherOneAndIsFilledFromTheSnode) {
  auto c = Started({.store = {.write_back_timeout_ns = 300'000'000}});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  c->StopMnode();
  c->StartMnode(201);
  ASSERT_EQ(c->Read(kSpace, 3, 1), absl::OkStatus());
  EXPECT_TRUE(c->SlotIs(1, 7));
  ASSERT_TRUE(c->RunUntil([&] { return c->StateOf(kSpace) == RehomeState::kServed; }));
  EXPECT_EQ(c->MnodeStat("live_pages"), 1u);
  EXPECT_EQ(c->Write(kSpace, 3, 2, 8, 10), absl::OkStatus());
  ASSERT_EQ(c->Read(kSpace, 3, 2), absl::OkStatus());
  EXPECT_TRUE(c->SlotIs(1, 8));
}

TEST(Recovery, WithoutAnyMemoryNodePagesAreReadFromTheSnodeAndWritesWait) {
  auto c = Started({.store = {.write_back_timeout_ns = 300'000'000}});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  c->StopMnode();
  c->Run(500);
  EXPECT_EQ(c->StateOf(kSpace), RehomeState::kSeeking);
  for (int i = 0; i < 3; ++i) ASSERT_EQ(c->Read(kSpace, 3, 1), absl::OkStatus());
  EXPECT_EQ(c->Write(kSpace, 4, 1, 7).code(), absl::StatusCode::kUnavailable);
  c->StartMnode(201);
  EXPECT_EQ(c->Write(kSpace, 4, 1, 7, 50), absl::OkStatus());
}

TEST(Recovery, APausedHomeIsLeftAndItsFramesAreFreeWhenItReturns) {
  auto c = Started({.mnodes = 2, .store = {.write_back_timeout_ns = 300'000'000}});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  const std::size_t home = c->HomeOf(kSpace);
  c->PauseMnode(home, true);
  ASSERT_TRUE(c->RunUntil([&] { return c->HomeOf(kSpace) == 1 - home && c->StateOf(kSpace) == RehomeState::kServed; }, 3000));
  ASSERT_EQ(c->Write(kSpace, 3, 2, 8), absl::OkStatus());
  c->PauseMnode(home, false);
  ASSERT_TRUE(c->RunUntil([&] { return c->MnodeStat("pool_used_bytes", home) == 0; }, 10000)) << "told that it is not the home any more";
  ASSERT_EQ(c->Read(kSpace, 3, 2), absl::OkStatus());
  EXPECT_TRUE(c->SlotIs(1, 8)) << "never what the former home had";
  EXPECT_EQ(c->disk.spaces[5][3].version, 2u) << "its release ended nothing at the snode";
}

TEST(Recovery, ADrainedHomeIsLeftWhileItLives) {
  auto c = Started({.mnodes = 2});
  for (std::uint64_t page = 0; page < 40; ++page) ASSERT_EQ(c->Write(kSpace, page * 100, 1, 5), absl::OkStatus());
  const std::size_t home = c->HomeOf(kSpace);
  ASSERT_TRUE(c->store->Drain(absl::StrCat("m", home + 1), true));
  EXPECT_FALSE(c->store->Drain("m9", true));
  ASSERT_TRUE(c->RunUntil([&] { return c->StateOf(kSpace) == RehomeState::kServed && c->MnodeStat("pool_used_bytes", home) == 0; }, 3000));
  EXPECT_EQ(c->HomeOf(kSpace), 1 - home);
  for (std::uint64_t page = 0; page < 40; ++page) ASSERT_EQ(c->Read(kSpace, page * 100, 1), absl::OkStatus());
  ASSERT_TRUE(c->store->CreateSpace(SpaceId(6)).ok());
  ASSERT_EQ(c->Write(SpaceId(6), 1, 1, 1), absl::OkStatus());
  EXPECT_EQ(c->HomeOf(SpaceId(6)), 1 - home) << "a drained home is not chosen";
}

TEST(Recovery, TheNextHomeDiesWhileItIsFilled) {
  auto c = Started({.mnodes = 3, .store = {.write_back_timeout_ns = 300'000'000}});
  for (std::uint64_t page = 0; page < 30; ++page) ASSERT_EQ(c->Write(kSpace, page * 200, 1, 5), absl::OkStatus());
  c->StopMnode(c->HomeOf(kSpace));
  ASSERT_TRUE(c->RunUntil([&] { return c->StateOf(kSpace) == RehomeState::kRefilling; }, 3000));
  c->StopMnode(c->HomeOf(kSpace));
  ASSERT_TRUE(c->RunUntil([&] { return c->StateOf(kSpace) == RehomeState::kServed; }, 5000));
  for (std::uint64_t page = 0; page < 30; ++page) {
    ASSERT_EQ(c->Read(kSpace, page * 200, 1), absl::OkStatus());
    EXPECT_TRUE(c->SlotIs(1, 5));
  }
}

TEST(Recovery, APageThatOneSnodeCannotReadComesFromAnother) {
  auto c = Started({.snodes = 2, .replace_after_ns = 500'000'000, .store = {.write_back_timeout_ns = 300'000'000}});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  const std::size_t first = c->disks[0].spaces.contains(5) && c->disks[0].spaces[5].contains(3) ? 0 : 1;
  c->StopSnode(first);
  ASSERT_TRUE(c->RunUntil([&] { return c->disks[1 - first].spaces[5].contains(3); }, 5000)) << "replaced, and filled from memory";
  EXPECT_EQ(c->Write(kSpace, 4, 1, 9, 20), absl::OkStatus());
  c->StartSnode(301, first);
  c->Run(500);
  c->disks[first].spaces[5][3].damaged = true;
  c->StopMnode();
  c->Run(500);
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(c->Read(kSpace, 3, 1), absl::OkStatus());
    EXPECT_TRUE(c->SlotIs(1, 7));
    ASSERT_EQ(c->Read(kSpace, 4, 1), absl::OkStatus()) << "the former snode does not have it";
  }
  c->disks[1 - first].spaces[5][3].version = 0;  // an older version: never served
  EXPECT_EQ(c->Read(kSpace, 3, 1).code(), absl::StatusCode::kDataLoss);
}

TEST(Recovery, AnUnreachableSnodeIsWaitedForNotTakenForLoss) {
  auto c = Started({.snodes = 2, .replace_after_ns = 1'000'000'000'000, .store = {.fetch_timeout_ns = 500'000'000}});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  const std::size_t keeper = c->disks[0].spaces.contains(5) && c->disks[0].spaces[5].contains(3) ? 0 : 1;
  c->StopSnode(keeper);
  c->StopMnode();
  c->Run(500);
  EXPECT_EQ(c->Read(kSpace, 3, 1).code(), absl::StatusCode::kUnavailable);
  c->StartSnode(301, keeper);
  c->Run(3000);
  ASSERT_EQ(c->Read(kSpace, 3, 1), absl::OkStatus());
  EXPECT_TRUE(c->SlotIs(1, 7));
}

TEST(Recovery, ASpaceThatEndsWithoutAHomeEndsAtTheSnodeThroughAnyOther) {
  auto c = Started({.mnodes = 2});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  c->StopMnode(c->HomeOf(kSpace));
  c->store->DestroySpace(kSpace);
  ASSERT_TRUE(c->RunUntil([&] { return c->store->space_count() == 0; }));
  EXPECT_TRUE(c->disk.spaces.empty());
}

TEST(Recovery, AnotherOwnerAtTheSnodeEndsTheSpace) {
  auto c = Started({});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  c->disk.epochs[5] = 9;
  c->StopMnode();
  ASSERT_TRUE(c->RunUntil([&] { return c->lost.contains(5); }));
  EXPECT_EQ(c->lost[5].code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Recovery, SpacesGoToTheHomeWithTheMostRoom) {
  auto c = Started({.extents = 4, .mnodes = 2});
  for (std::uint64_t page : {0, 2000, 4000}) ASSERT_EQ(c->Write(kSpace, page, 1, 1), absl::OkStatus());
  ASSERT_TRUE(c->store->CreateSpace(SpaceId(6)).ok());
  ASSERT_EQ(c->Write(SpaceId(6), 1, 1, 1), absl::OkStatus());
  EXPECT_NE(c->HomeOf(SpaceId(6)), c->HomeOf(kSpace));
}

// Every version that was acknowledged can be read, and nothing else is ever served, whatever dies. One seed decides all;
// ASHLAR_SIM_SEEDS says how many, ASHLAR_SIM_SEED replays one.
TEST(Recovery, StormOfDyingNodes) {
  const auto number = [](const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
  };
  const std::uint64_t one = number("ASHLAR_SIM_SEED", 0), count = number("ASHLAR_SIM_SEEDS", 40);
  Storm::Totals totals;
  for (std::uint64_t seed = one != 0 ? one : 1; seed <= (one != 0 ? one : count); ++seed) {
    SCOPED_TRACE(testing::Message() << "replay with ASHLAR_SIM_SEED=" << seed);
    Storm storm(seed, {.extents = 6, .mnodes = 1 + seed % 3, .snodes = 1 + seed / 3 % 3, .replace_after_ns = 300'000'000,
                       .store = {.write_back_timeout_ns = 300'000'000}}, /*nodes_die=*/true);
    storm.Run(400);
    if (HasFatalFailure()) return;
    totals.Add(storm);
  }
  if (one != 0 || count < 20) return;
  // The rare paths were reached.
  EXPECT_GT(totals.kills, 20);
  EXPECT_GT(totals.pauses, 5);
  EXPECT_GT(totals.drains, 5);
  EXPECT_GT(totals.homes_left, 20);
  EXPECT_GT(totals.recovered_reads, 50);
  EXPECT_GT(totals.refilled, 20);
  EXPECT_GT(totals.replaced, 0);
  EXPECT_GT(totals.stale, 0);
}

}  // namespace
}  // namespace ashlar
