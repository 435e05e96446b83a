// The whole data path of a page: store ↔ mnode ↔ snode over the memory fabric.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/daemons/pnode/remote_page_store/cluster.h"
#include "tests/unit/daemons/pnode/remote_page_store/storm.h"

namespace ashlar {
namespace {

using pnode::AckLevel;
constexpr SpaceId kSpace(5);

// A cluster that runs, with one space.
std::unique_ptr<Cluster> Started(Cluster::Options options = {}) {
  auto cluster = std::make_unique<Cluster>(std::move(options));
  cluster->StartAll();
  EXPECT_TRUE(cluster->store->CreateSpace(kSpace).ok());
  return cluster;
}

TEST(DataPath, APageComesBackAsItWasWritten) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 3, 1, 0xAB), absl::OkStatus());
  EXPECT_EQ(c->level, AckLevel::kDisk);
  EXPECT_EQ(c->disk.spaces[5][3].version, 1u);
  ASSERT_EQ(c->Read(kSpace, 3, 1), absl::OkStatus());
  EXPECT_TRUE(c->SlotIs(1, 0xAB));
  EXPECT_EQ(c->StoreStat("store_fetched_pages_total", "by=read"), 1u);
  EXPECT_EQ(c->snode->bad_crc, 0);
}

TEST(DataPath, AZeroPageOverwritesAndIsReadAsZeros) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 3, 1, 0xAB), absl::OkStatus());
  ASSERT_EQ(c->Write(kSpace, 3, 2, 0), absl::OkStatus());
  ASSERT_EQ(c->Read(kSpace, 3, 2), absl::OkStatus());
  EXPECT_TRUE(c->SlotIs(1, 0));
  EXPECT_TRUE(c->disk.spaces[5][3].bytes.empty());
}

TEST(DataPath, WithoutReplicasTheLevelIsHome) {
  auto c = Started({.replicas = 0});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 0xAB), absl::OkStatus());
  EXPECT_EQ(c->level, AckLevel::kHome);
  ASSERT_EQ(c->Read(kSpace, 3, 1), absl::OkStatus());
}

TEST(DataPath, AFullBatchAcrossExtents) {
  auto c = Started();
  std::vector<pnode::DirtyPage> pages;
  for (std::size_t i = 0; i < 64; ++i) {
    const PageNumber page(i < 32 ? 1000 + i : 2040 + i);
    std::fill(c->Slot(i).begin(), c->Slot(i).end(), std::byte(i + 1));
    const std::span<const std::byte> bytes = i % 7 == 0 ? std::span<const std::byte>() : std::span<const std::byte>(c->Slot(i));
    pages.push_back({page, Version(1), bytes, PageCrc32c(kSpace, page, Version(1), bytes), 1000 + i});
  }
  ASSERT_EQ(c->store->WriteBack(kSpace, pages), absl::OkStatus());
  ASSERT_TRUE(c->RunUntil([&] { return c->results.size() == 64; }));
  for (const auto& [cookie, status] : c->results) EXPECT_EQ(status, absl::OkStatus()) << cookie;
  std::vector<pnode::FetchRequest> wants;
  for (std::size_t i = 0; i < 64; ++i) wants.push_back({kSpace, pages[i].page, Version(1), c->Slot(100 + i), 2000 + i});
  c->store->Fetch(wants);
  ASSERT_TRUE(c->RunUntil([&] { return c->results.size() == 128; }));
  for (std::size_t i = 0; i < 64; ++i) EXPECT_TRUE(c->SlotIs(100 + i, i % 7 == 0 ? 0 : static_cast<unsigned char>(i + 1))) << i;
  EXPECT_EQ(c->MnodeStat("extents"), 3u);
  EXPECT_EQ(c->snode->appends, 1);
}

TEST(DataPath, OnlySoManyWriteBacksAreTaken) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 0, 1, 1), absl::OkStatus());
  c->snode->hold = true;
  const auto write = [&](std::uint64_t page) {
    const pnode::DirtyPage dirty{PageNumber(page), Version(1), {}, PageCrc32c(kSpace, PageNumber(page), Version(1), {}), page};
    return c->store->WriteBack(kSpace, std::span(&dirty, 1));
  };
  for (std::uint64_t page = 100; page < 106; ++page) EXPECT_EQ(write(page), absl::OkStatus());
  EXPECT_EQ(write(106).code(), absl::StatusCode::kResourceExhausted);
}

TEST(DataPath, DestroyFreesEverythingEverywhere) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 3, 1, 1), absl::OkStatus());
  ASSERT_EQ(c->Write(kSpace, 3000, 1, 1), absl::OkStatus());
  c->store->DestroySpace(kSpace);
  ASSERT_TRUE(c->RunUntil([&] { return c->store->space_count() == 0; }));
  EXPECT_EQ(c->MnodeStat("pool_used_bytes"), 0u);
  EXPECT_EQ(c->MnodeStat("live_pages"), 0u);
  EXPECT_TRUE(c->disk.spaces.empty());
  EXPECT_TRUE(c->disk.ended.contains(5));
}

TEST(DataPath, DestroyEndsWhatIsUnderWayWithCancelled) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 0, 1, 1), absl::OkStatus());
  c->snode->hold = true;
  const pnode::DirtyPage dirty{PageNumber(1), Version(1), {}, PageCrc32c(kSpace, PageNumber(1), Version(1), {}), 77};
  ASSERT_EQ(c->store->WriteBack(kSpace, std::span(&dirty, 1)), absl::OkStatus());
  const pnode::FetchRequest want{kSpace, PageNumber(0), Version(1), c->Slot(1), 78};
  c->store->Fetch(std::span(&want, 1));
  c->store->DestroySpace(kSpace);
  ASSERT_TRUE(c->RunUntil([&] { return c->results.contains(77) && c->results.contains(78); }));
  EXPECT_EQ(c->results[77].code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(c->results[78].code(), absl::StatusCode::kCancelled);
}

TEST(DataPath, DestroyIsRepeatedUntilTheSnodeKnows) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 3, 1, 1), absl::OkStatus());
  c->StopSnode();
  c->store->DestroySpace(kSpace);
  c->Run(12000);
  EXPECT_EQ(c->store->space_count(), 1u);
  EXPECT_EQ(c->MnodeStat("pool_used_bytes"), 0u) << "the memory is free at once";
  c->StartSnode(301);
  ASSERT_TRUE(c->RunUntil([&] { return c->store->space_count() == 0; }));
  EXPECT_TRUE(c->disk.spaces.empty());
}

TEST(DataPath, DestroyReachesTheSnodeThroughAnMnodeThatForgot) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 3, 1, 1), absl::OkStatus());
  c->StopMnode();
  c->store->DestroySpace(kSpace);
  c->StartMnode(201);
  ASSERT_TRUE(c->RunUntil([&] { return c->store->space_count() == 0; }));
  EXPECT_TRUE(c->disk.spaces.empty());
  EXPECT_TRUE(c->lost.empty()) << "an ended space cannot be lost";
}

TEST(DataPath, TrimmedExtentsGoBackToThePoolAndTrimsReachTheSnode) {
  auto c = Started({.extents = 2});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 1), absl::OkStatus());
  ASSERT_EQ(c->Write(kSpace, 1024, 1, 1), absl::OkStatus());
  EXPECT_EQ(c->MnodeStat("extents"), 2u);
  const pnode::TrimRange range{PageNumber(0), 1024, Version(1)};
  c->store->Trim(kSpace, std::span(&range, 1));
  ASSERT_TRUE(c->RunUntil([&] { return c->MnodeStat("extents") == 1 && c->disk.spaces[5].size() == 1; }));
  EXPECT_EQ(c->Write(kSpace, 5000, 1, 1), absl::OkStatus()) << "the pool has room again";
  EXPECT_EQ(c->Read(kSpace, 1024, 1), absl::OkStatus());
  const pnode::TrimRange never{PageNumber(1 << 20), 1024, Version(1)};
  c->store->Trim(kSpace, std::span(&never, 1));
  EXPECT_EQ(c->StoreStat("store_trims_skipped_total"), 1u) << "nothing was ever there";
}

// The pager keeps a trim back while a forked child may still read the old version; the page may be written anew meanwhile.
TEST(DataPath, ATrimThatComesLateSparesWhatWasWrittenSince) {
  auto c = Started({.extents = 2});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 1), absl::OkStatus());
  ASSERT_EQ(c->Write(kSpace, 4, 1, 1), absl::OkStatus());
  ASSERT_EQ(c->Write(kSpace, 3, 2, 2), absl::OkStatus());
  std::fill(c->Slot(7).begin(), c->Slot(7).end(), std::byte(9));
  const pnode::DirtyPage dirty{PageNumber(4), Version(2), c->Slot(7), PageCrc32c(kSpace, PageNumber(4), Version(2), c->Slot(7)), 4};
  ASSERT_EQ(c->store->WriteBack(kSpace, std::span(&dirty, 1)), absl::OkStatus());
  const pnode::TrimRange range{PageNumber(0), 1024, Version(1)};
  c->store->Trim(kSpace, std::span(&range, 1));  // version 2 of page 4 is on its way
  ASSERT_TRUE(c->RunUntil([&] { return c->results.contains(4) && c->StoreStat("store_trim_ranges_total") == 1; }));
  ASSERT_EQ(c->results.at(4), absl::OkStatus());
  ASSERT_EQ(c->Write(kSpace, 5000, 1, 1), absl::OkStatus()) << "there was time to unmap";
  EXPECT_EQ(c->MnodeStat("extents"), 2u);
  EXPECT_EQ(c->Read(kSpace, 3, 2), absl::OkStatus());
  EXPECT_TRUE(c->SlotIs(1, 2));
  EXPECT_EQ(c->Read(kSpace, 4, 2), absl::OkStatus());
  EXPECT_TRUE(c->SlotIs(1, 9));
}

TEST(DataPath, AFullPoolIsSaidAndEndsWhenThereIsRoom) {
  auto c = Started({.extents = 1, .store = {.write_back_timeout_ns = 500'000'000}});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 1), absl::OkStatus());
  const absl::Status full = c->Write(kSpace, 5000, 1, 1);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), testing::HasSubstr("pool of memory node m1 is full"));
  const pnode::TrimRange range{PageNumber(0), 1024, Version(1)};
  c->store->Trim(kSpace, std::span(&range, 1));
  EXPECT_EQ(c->Write(kSpace, 5000, 1, 1, /*tries=*/10), absl::OkStatus());
}

TEST(DataPath, WithoutTheSnodeNothingIsAcknowledgedAndReadsGoOn) {
  auto c = Started({.store = {.write_back_timeout_ns = 1'000'000'000}});
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  c->StopSnode();
  EXPECT_EQ(c->Write(kSpace, 3, 2, 8).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(c->Read(kSpace, 3, 1), absl::OkStatus());
  c->StartSnode(301);
  EXPECT_EQ(c->Write(kSpace, 3, 2, 8, /*tries=*/10), absl::OkStatus());
  EXPECT_EQ(c->disk.spaces[5][3].version, 2u);
}

TEST(DataPath, AFullSnodeIsWaitedFor) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  c->snode->full = true;
  EXPECT_EQ(c->Write(kSpace, 4, 1, 7).code(), absl::StatusCode::kResourceExhausted);
  c->snode->full = false;
  EXPECT_EQ(c->Write(kSpace, 4, 1, 7, 10), absl::OkStatus());
}

TEST(DataPath, AReadBeforeTheNodesAreThereEndsInTime) {
  Cluster c({.store = {.fetch_timeout_ns = 500'000'000}});
  c.StartPnode(100);
  ASSERT_TRUE(c.store->CreateSpace(kSpace).ok());
  EXPECT_EQ(c.Read(kSpace, 3, 1).code(), absl::StatusCode::kUnavailable);
  c.StartSnode(300);
  c.StartMnode(200);
  EXPECT_EQ(c.Write(kSpace, 3, 1, 1, 10), absl::OkStatus()) << "started in any order";
}

TEST(DataPath, ALostLinkIsMetByNewWindowsAndRepeatedReads) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  for (int i = 0; i < 5; ++i) {
    const auto ends = c->network.endpoints();
    for (fabric::EndpointId end : ends) c->network.Cut(end);  // store ↔ mnode and mnode ↔ snode
    ASSERT_EQ(c->Read(kSpace, 3, 1), absl::OkStatus());
    EXPECT_TRUE(c->SlotIs(1, 7));
    ASSERT_EQ(c->Write(kSpace, 4, static_cast<std::uint64_t>(i) + 1, 7, 20), absl::OkStatus());
  }
  EXPECT_GE(c->StoreStat("store_link_losses_total"), 5u);
  EXPECT_EQ(c->ended_twice, 0);
}

TEST(DataPath, WithoutReplicasARestartedMemoryNodeLosesTheSpacesWithPagesThereAndNoOthers) {
  auto c = Started({.replicas = 0});
  ASSERT_TRUE(c->store->CreateSpace(SpaceId(6)).ok());
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  c->StopMnode();
  c->StartMnode(201);
  EXPECT_EQ(c->Read(kSpace, 3, 1).code(), absl::StatusCode::kDataLoss) << "never zeros, never something else";
  ASSERT_TRUE(c->RunUntil([&] { return c->lost.contains(5); }));
  EXPECT_THAT(std::string(c->lost[5].message()), testing::HasSubstr("memory node m1 restarted"));
  EXPECT_FALSE(c->lost.contains(6));
  EXPECT_EQ(c->Write(SpaceId(6), 3, 1, 7, 10), absl::OkStatus());
  EXPECT_EQ(c->Write(kSpace, 4, 1, 7).code(), absl::StatusCode::kDataLoss);
  c->store->DestroySpace(kSpace);
  ASSERT_TRUE(c->RunUntil([&] { return c->store->space_count() == 1; }));
}

TEST(DataPath, ANewerPnodeTakesOverAndTheOlderIsTold) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  c->StopPnode();
  c->StartPnode(101);
  ASSERT_TRUE(c->store->CreateSpace(SpaceId(9)).ok());
  ASSERT_EQ(c->Write(SpaceId(9), 3, 1, 7), absl::OkStatus());
  EXPECT_EQ(c->MnodeStat("extents"), 1u) << "what the older one had is free";
  ASSERT_TRUE(c->RunUntil([&] { return !c->disk.spaces.contains(5); }));
}

TEST(DataPath, AVersionTheHomeDoesNotHaveIsNeverServedByMessage) {
  auto c = Started();
  ASSERT_EQ(c->Write(kSpace, 3, 1, 7), absl::OkStatus());
  EXPECT_EQ(c->Read(kSpace, 5000, 1).code(), absl::StatusCode::kDataLoss) << "no extent there";
}

TEST(DataPath, AcknowledgedPagesSurviveLostLinksAndSnodeRestarts) {
  Storm::Totals totals;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Storm storm(seed, {.extents = 6, .store = {.write_back_timeout_ns = 300'000'000}}, /*nodes_die=*/false);
    storm.Run(400);
    if (HasFatalFailure()) return;
    totals.Add(storm);
  }
  // The rare paths were reached.
  EXPECT_GT(totals.cuts, 100);
  EXPECT_GT(totals.restarts, 20);
  EXPECT_GT(totals.failed_writes, 5);
  EXPECT_GT(totals.fetched, 1000);
  EXPECT_GT(totals.trims, 100);
}

}  // namespace
}  // namespace ashlar
