// A model of what a pnode may rely on, driven by one seed against a Cluster.
#pragma once

#include <map>
#include <memory>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/daemons/pnode/remote_page_store/cluster.h"

namespace ashlar {

// Many requests at once, some caught on the wire by a cut link, by the death, the silence or the drain of a node. The model
// knows what was acknowledged; a request may fail only in the ways the seam allows, and each ends once. One seed decides all.
class Storm {
 public:
  static constexpr SpaceId kSpace{5};
  // `nodes_die`: memory nodes are killed, paused and drained too, storage nodes stay away. All disks are kept.
  Storm(std::uint64_t seed, Cluster::Options options, bool nodes_die)
      : random_(seed), mnodes_(options.mnodes), snodes_(options.snodes), nodes_die_(nodes_die), c_(std::make_unique<Cluster>(std::move(options))) {
    c_->StartAll();
    EXPECT_TRUE(c_->store->CreateSpace(kSpace).ok());
  }

  void Run(int steps) {
    for (int step = 0; step < steps; ++step) {
      switch (random_() % 16) {
        case 0: Cut(); break;
        case 1: if (random_() % 4 == 0) RestartSnode(); else if (nodes_die_) DisturbANode(); break;
        case 2: case 3: TrimOne(); break;
        case 4: case 5: case 6: case 7: case 8: WriteSome(); break;
        case 9: case 10: case 11: FetchSome(); break;
        default:
          for (std::uint64_t turns = random_() % 12; turns > 0; --turns) c_->Turn();
          if (random_() % 3 == 0) c_->clock.Advance(absl::Milliseconds(random_() % 20));
      }
      Collect();
    }
    Heal();
    ASSERT_TRUE(c_->RunUntil([&] { Collect(); return writes_.empty() && fetches_.empty(); }, 60000)) << "something hangs";
    ASSERT_TRUE(c_->RunUntil([&] { return c_->StateOf(kSpace) == pnode::RehomeState::kServed; }, 60000)) << "never served again: " << pnode::Name(c_->StateOf(kSpace));
    for (auto& [page, m] : pages_) {
      if (m.resend) {  // the home may hold it already: until it is acknowledged only the pnode may serve this page
        ASSERT_EQ(c_->Write(kSpace, page, m.version, m.fill, 50), absl::OkStatus());
        Collect();
        m.acknowledged = m.version;
        m.acknowledged_fill = m.fill;
      }
      if (m.acknowledged == 0) continue;
      ASSERT_EQ(c_->Read(kSpace, page, m.acknowledged), absl::OkStatus()) << page;
      ASSERT_TRUE(c_->SlotIs(1, m.acknowledged_fill)) << page;
      ASSERT_EQ(OnDisk(page), m.acknowledged) << page;
    }
    EXPECT_TRUE(c_->lost.empty());
    EXPECT_EQ(c_->ended_twice, 0);
    for (std::size_t i = 0; i < snodes_; ++i) EXPECT_EQ(c_->snode_at(i).bad_crc, 0);
    totals.recovered_reads = static_cast<int>(c_->StoreStat("store_fetched_pages_total", "by=storage"));
    totals.homes_left = static_cast<int>(c_->StoreStat("store_homes_left_total"));
    totals.refilled = static_cast<int>(c_->StoreStat("store_extents_refilled_total"));
    totals.filled_again = static_cast<int>(c_->StoreStat("store_refills_repeated_total"));
    for (std::size_t i = 0; i < mnodes_; ++i) totals.replaced += static_cast<int>(c_->MnodeStat("replicas_replaced_total", i));
    for (std::size_t i = 0; i < snodes_; ++i) totals.stale += c_->snode_at(i).stale;
    c_->store->DestroySpace(kSpace);
    ASSERT_TRUE(c_->RunUntil([&] { return c_->store->space_count() == 0; }, 30000));
    const auto freed = [&] {
      for (std::size_t i = 0; i < mnodes_; ++i)
        if (c_->MnodeStat("pool_used_bytes", i) != 0 || c_->MnodeStat("unprotected_bytes", i) != 0) return false;
      for (std::size_t i = 0; i < snodes_; ++i)
        if (!c_->disks[i].spaces.empty()) return false;
      return true;
    };
    EXPECT_TRUE(c_->RunUntil(freed, 30000)) << "something of an ended space is kept";
  }

  struct Totals {
    int cuts = 0, restarts = 0, failed_writes = 0, fetched = 0, trims = 0;
    int kills = 0, pauses = 0, drains = 0, homes_left = 0, recovered_reads = 0, refilled = 0, filled_again = 0, replaced = 0, stale = 0;
    void Add(const Storm& storm) {
      const Totals& more = storm.totals;
      cuts += more.cuts, restarts += more.restarts, failed_writes += more.failed_writes, fetched += more.fetched, trims += more.trims;
      kills += more.kills, pauses += more.pauses, drains += more.drains, homes_left += more.homes_left, refilled += more.refilled;
      recovered_reads += more.recovered_reads, filled_again += more.filled_again, replaced += more.replaced, stale += more.stale;
    }
  };
  Totals totals;

 private:
  struct Page {
    std::uint64_t version = 0, acknowledged = 0;
    unsigned char fill = 0, acknowledged_fill = 0;
    bool resend = false;  // version is not acknowledged: to be sent again before anything newer
    int busy = 0;         // requests under way
    bool writing = false;
  };
  struct Write {
    std::uint64_t page;
    std::size_t slot;
  };
  struct Fetch {
    std::uint64_t page;
    std::size_t slot;
  };

  std::uint64_t AnyPage() { return (random_() % 4) * 1024 + random_() % 10; }
  std::size_t TakeSlot() {
    for (std::size_t slot = 2; slot < Cluster::kBufferPages; ++slot)
      if (!slots_.contains(slot)) return slots_.insert(slot), slot;
    ADD_FAILURE() << "RoomForMore was not asked";
    return 2;
  }
  bool RoomForMore() const { return slots_.size() + 32 < Cluster::kBufferPages; }
  void Cut() {
    const auto ends = c_->network.endpoints();
    if (!ends.empty()) c_->network.Cut(ends[random_() % ends.size()]);
    ++totals.cuts;
  }
  void RestartSnode() {
    const std::size_t i = random_() % snodes_;
    c_->StopSnode(i);
    c_->StartSnode(++incarnation_, i);
    ++totals.restarts;
  }
  void DisturbANode() {
    const std::size_t m = random_() % mnodes_, s = random_() % snodes_;
    switch (random_() % 8) {
      case 0: case 1:
        if (!c_->MnodeRuns(m)) return c_->StartMnode(++incarnation_, m);
        c_->PauseMnode(m, false);
        c_->StopMnode(m);
        ++totals.kills;
        if (random_() % 2 == 0) c_->StartMnode(++incarnation_, m);
        return;
      case 2:
        if (c_->MnodeRuns(m)) c_->PauseMnode(m, random_() % 2 == 0), ++totals.pauses;
        return;
      case 3:
        if (c_->SnodeRuns(s)) c_->StopSnode(s);
        else c_->StartSnode(++incarnation_, s);
        return;
      case 4:
        c_->store->Drain(absl::StrCat("m", m + 1), random_() % 2 == 0);
        ++totals.drains;
        return;
      default:  // time for somebody to notice
        c_->Run(static_cast<int>(random_() % 400));
    }
  }
  void Heal() {
    for (std::size_t i = 0; i < mnodes_; ++i) {
      c_->PauseMnode(i, false);
      if (!c_->MnodeRuns(i)) c_->StartMnode(++incarnation_, i);
      c_->store->Drain(absl::StrCat("m", i + 1), false);
    }
    for (std::size_t i = 0; i < snodes_; ++i)
      if (!c_->SnodeRuns(i)) c_->StartSnode(++incarnation_, i);
  }
  // The newest version on any disk.
  std::uint64_t OnDisk(std::uint64_t page) {
    std::uint64_t newest = 0;
    for (std::size_t i = 0; i < snodes_; ++i)
      if (const auto it = c_->disks[i].spaces[5].find(page); it != c_->disks[i].spaces[5].end()) newest = std::max(newest, it->second.version);
    return newest;
  }
  void WriteSome() {
    if (!RoomForMore()) return;
    std::vector<pnode::DirtyPage> batch;
    std::vector<std::pair<std::uint64_t, Write>> taken;
    for (std::uint64_t n = 1 + random_() % 8; n > 0; --n) {
      const std::uint64_t page = AnyPage();
      Page& m = pages_[page];
      if (m.busy > 0) continue;
      if (!m.resend) {
        ++m.version;
        m.fill = static_cast<unsigned char>(random_() % 4 == 0 ? 0 : 1 + random_() % 255);
      }
      m.resend = m.writing = true;
      ++m.busy;
      const std::size_t slot = TakeSlot();
      std::fill(c_->Slot(slot).begin(), c_->Slot(slot).end(), std::byte{m.fill});
      const std::span<const std::byte> bytes = m.fill != 0 ? std::span<const std::byte>(c_->Slot(slot)) : std::span<const std::byte>();
      const Version version(m.version);
      batch.push_back({PageNumber(page), version, bytes, PageCrc32c(kSpace, PageNumber(page), version, bytes), ++c_->last_cookie});
      taken.push_back({c_->last_cookie, {page, slot}});
    }
    if (batch.empty()) return;
    const absl::Status status = c_->store->WriteBack(kSpace, batch);
    if (nodes_die_ && absl::IsUnavailable(status)) {  // no home now
      for (const auto& [cookie, write] : taken) Ended(write.page, write.slot).writing = false;
      return;
    }
    if (status.ok()) {
      writes_.insert(taken.begin(), taken.end());
      return;
    }
    ASSERT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    for (const auto& [cookie, write] : taken) Ended(write.page, write.slot).writing = false;
  }
  void FetchSome() {
    if (!RoomForMore()) return;
    std::vector<pnode::FetchRequest> batch;
    for (std::uint64_t n = 1 + random_() % 20; n > 0; --n) {
      const std::uint64_t page = AnyPage();
      Page& m = pages_[page];
      if (m.writing || m.acknowledged == 0 || m.resend) continue;
      ++m.busy;
      const std::size_t slot = TakeSlot();
      std::fill(c_->Slot(slot).begin(), c_->Slot(slot).end(), std::byte{0x99});
      batch.push_back({kSpace, PageNumber(page), Version(m.acknowledged), c_->Slot(slot), ++c_->last_cookie});
      fetches_[c_->last_cookie] = {page, slot};
    }
    c_->store->Fetch(batch);
  }
  void TrimOne() {
    const std::uint64_t page = AnyPage();
    Page& m = pages_[page];
    if (m.busy > 0 || m.version == 0) return;
    const pnode::TrimRange range{PageNumber(page), 1, Version(m.version)};
    c_->store->Trim(kSpace, std::span(&range, 1));
    m.acknowledged = 0;
    m.resend = false;
    ++totals.trims;
  }
  Page& Ended(std::uint64_t page, std::size_t slot) {
    slots_.erase(slot);
    Page& m = pages_[page];
    --m.busy;
    return m;
  }
  void Collect() {
    for (const auto& [cookie, status] : c_->results) {
      if (const auto it = writes_.find(cookie); it != writes_.end()) {
        Page& m = Ended(it->second.page, it->second.slot);
        m.writing = false;
        if (status.ok()) {
          m.resend = false;
          m.acknowledged = m.version;
          m.acknowledged_fill = m.fill;
          EXPECT_EQ(OnDisk(it->second.page), m.version) << "acknowledged and not on the disk";
        } else {
          EXPECT_TRUE(absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsResourceExhausted(status)) << status;
          ++totals.failed_writes;
        }
        writes_.erase(it);
      } else if (const auto f = fetches_.find(cookie); f != fetches_.end()) {
        const std::size_t slot = f->second.slot;
        Page& m = Ended(f->second.page, slot);
        if (status.ok()) {
          EXPECT_TRUE(c_->SlotIs(slot, m.acknowledged_fill)) << "page " << f->second.page;
          ++totals.fetched;
        } else {
          EXPECT_TRUE(absl::IsUnavailable(status)) << status;
        }
        fetches_.erase(f);
      }
    }
    c_->results.clear();
  }

  std::mt19937_64 random_;
  const std::size_t mnodes_, snodes_;
  const bool nodes_die_;
  std::unique_ptr<Cluster> c_;
  std::map<std::uint64_t, Page> pages_;
  std::map<pnode::Cookie, Write> writes_;
  std::map<pnode::Cookie, Fetch> fetches_;
  std::set<std::size_t> slots_;
  std::uint64_t incarnation_ = 1000;
};

}  // namespace ashlar
