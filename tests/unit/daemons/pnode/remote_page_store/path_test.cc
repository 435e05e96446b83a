// The whole data path of a page: store ↔ mnode ↔ snode over the memory fabric.
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/daemons/pnode/remote_page_store/cluster.h"

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

TEST(DataPath, ARestartedMemoryNodeLosesTheSpacesWithPagesThereAndNoOthers) {
  auto c = Started();
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

// Random work against a model, while links are cut, the snode restarts and answers are held back: every acknowledged
// page is read as it was, and is on the snode's disk.
TEST(DataPath, AcknowledgedPagesSurviveLostLinksAndSnodeRestarts) {
  int cuts = 0, restarts = 0, unavailable = 0;
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    auto c = Started({.store = {.write_back_timeout_ns = 400'000'000}});
    struct Model {
      std::uint64_t version = 0, acknowledged = 0;
      unsigned char fill = 0;
    };
    std::map<std::uint64_t, Model> model;
    std::uint64_t incarnation = 300;
    for (int step = 0; step < 120; ++step) {
      const std::uint64_t page = (random() % 3) * 1024 + random() % 6;
      Model& m = model[page];
      switch (random() % 12) {
        case 0: {
          const auto ends = c->network.endpoints();
          if (!ends.empty()) c->network.Cut(ends[random() % ends.size()]);
          ++cuts;
          break;
        }
        case 1:
          c->StopSnode();
          c->Run(static_cast<int>(random() % 30));
          c->StartSnode(++incarnation);
          ++restarts;
          break;
        case 2: case 3: {
          if (m.acknowledged == 0 || m.acknowledged != m.version) break;
          const pnode::TrimRange range{PageNumber(page), 1, Version(m.version)};
          c->store->Trim(kSpace, std::span(&range, 1));
          m.acknowledged = 0;
          break;
        }
        case 4: case 5: case 6: case 7: {
          m.fill = static_cast<unsigned char>(random() % 4 == 0 ? 0 : 1 + random() % 255);
          ++m.version;
          absl::Status status;
          for (int tries = 0; tries < 50; ++tries) {
            status = c->Write(kSpace, page, m.version, m.fill);
            if (status.ok()) break;
            ASSERT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
            ++unavailable;
          }
          ASSERT_EQ(status, absl::OkStatus());
          ASSERT_EQ(c->level, AckLevel::kDisk);
          ASSERT_EQ(c->disk.spaces[5][page].version, m.version);
          m.acknowledged = m.version;
          break;
        }
        default:
          if (m.acknowledged == 0) break;
          ASSERT_EQ(c->Read(kSpace, page, m.acknowledged), absl::OkStatus());
          ASSERT_TRUE(c->SlotIs(1, m.fill));
      }
    }
    for (const auto& [page, m] : model) {
      if (m.acknowledged == 0) continue;
      ASSERT_EQ(c->Read(kSpace, page, m.acknowledged), absl::OkStatus());
      EXPECT_TRUE(c->SlotIs(1, m.fill));
    }
    EXPECT_TRUE(c->lost.empty());
    EXPECT_EQ(c->ended_twice, 0);
    EXPECT_EQ(c->snode->bad_crc, 0);
    c->store->DestroySpace(kSpace);
    ASSERT_TRUE(c->RunUntil([&] { return c->store->space_count() == 0; }));
    EXPECT_EQ(c->MnodeStat("pool_used_bytes"), 0u);
    EXPECT_TRUE(c->disk.spaces.empty());
  }
  EXPECT_GT(cuts, 0);
  EXPECT_GT(restarts, 0);
}

}  // namespace
}  // namespace ashlar
