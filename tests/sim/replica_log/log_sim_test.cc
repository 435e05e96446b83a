// The replica log through many lives: spaces, fences, trims, ends, write errors, pages that rot, power cuts at any moment,
// also during a start. One seed decides all; the ledger knows what was acknowledged and what was ever sent.
//   log_sim_test [--sim_seed=N | --sim_seeds=N]
#include <cstdio>
#include <random>

#include "absl/strings/str_cat.h"
#include "tests/unit/daemons/snode/replica_log/log_fixture.h"

namespace ashlar::snode {
namespace {

std::uint64_t only_seed = 0;
std::uint64_t seed_count = 200;
std::map<std::string, std::uint64_t> reached;  // how often each rare path was taken, over all seeds

class LogSim : public LogFixture {
 protected:
  struct Page {
    std::uint64_t sent = 0, acknowledged = 0;
    std::uint64_t trim_sent = 0, trim_acknowledged = 0;
    std::uint64_t rotten = 0;  // this version was damaged on the disk; 0 = none
  };
  struct Space {
    std::uint64_t epoch = 0;         // highest acknowledged
    std::uint64_t epoch_sent = 0;    // highest asked for
    bool end_sent = false, end_acknowledged = false;
    std::map<std::uint64_t, Page> pages;
  };

  void RunSeed(std::uint64_t seed) {
    random_.seed(seed);
    log_.reset();
    medium_ = {};
    spaces_.clear();
    kept_.clear();
    next_space_ = 5;
    ASSERT_TRUE(StartOnce());
    for (int life = 0; life < 5; ++life) {
      disk_->set_auto_complete(false);
      for (int step = static_cast<int>(random_() % 90); step > 0; --step) {
        Act();
        if (!Turn()) break;
      }
      reached["crash_with_writes_in_flight"] += disk_->pending_writes() > 0;
      Cut();
      for (int tries = 0; !StartOnce(); ++tries) ASSERT_LT(tries, 20);
      Check();
      ASSERT_FALSE(HasFatalFailure());
    }
  }

  // False: the power went during the start.
  bool StartOnce() {
    log_.reset();
    auto device = std::make_unique<SimDisk>(&medium_);
    disk_ = device.get();
    const bool cut = random_() % 6 == 0 && !spaces_.empty();
    if (cut) disk_->set_crash_in_start([this](std::size_t, std::size_t) { return random_() % 2 == 0; });
    LogOptions options = TestOptions(8);
    options.scrub_period_ns = 1'000'000'000;
    auto log = ReplicaLog::Open(options, std::move(device), clock_);
    if (cut) {
      EXPECT_TRUE(absl::IsUnavailable(log.status())) << log.status();
      ++reached["crash_in_start"];
      return false;
    }
    EXPECT_TRUE(log.ok()) << log.status();
    if (!log.ok()) return true;
    log_ = *std::move(log);
    reached["quarantine"] += !medium_.quarantine.empty();
    return true;
  }

  void Cut() {
    const std::uint64_t keep = random_() % 4;  // nothing, half, most, everything of what was in flight
    Tally();
    disk_->Crash([&](std::size_t, std::size_t) { return keep == 3 || (keep == 1 && random_() % 2 == 0) || (keep == 2 && random_() % 10 != 0); });
  }
  void Tally() {
    reached["cleaned"] += Stat("cleaned_segments_total") > 0;
    reached["write_error"] += Stat("write_errors_total") > 0;
    reached["bad_page_found"] += Stat("bad_pages_total") > 0;
    reached["scrubbed"] += Stat("scrubbed_pages_total") > 0;
  }

  // One turn of the log; false: the disk failed twice and the daemon would exit.
  bool Turn() {
    for (std::uint64_t n = random_() % 4; n > 0 && disk_->pending_writes() > 0; --n)
      disk_->Complete(random_() % disk_->pending_writes(), random_() % 150 == 0 ? EIO : 0);
    if (random_() % 500 == 0) disk_->FailNextWrites(2);
    if (random_() % 20 == 0) clock_.Advance(absl::Milliseconds(60));
    const absl::Status status = log_->Poll();
    reached["second_write_error"] += absl::IsDataLoss(status);
    EXPECT_TRUE(status.ok() || absl::IsDataLoss(status)) << status;
    return status.ok();
  }

  void Act() {
    if (spaces_.empty() || (spaces_.size() < 3 && random_() % 30 == 0)) return OpenNew();
    auto it = spaces_.begin();
    std::advance(it, random_() % spaces_.size());
    auto& [id, space] = *it;
    if (space.end_sent) return;
    switch (random_() % 24) {
      case 0:
        return FenceSpace(id, space);
      case 1:
        return space.pages.size() > 60 ? EndOne(id, space) : FenceSpace(id, space);
      case 2:
        return Rot(id, space);
      case 3:
      case 4:
      case 5:
        return TrimOne(id, space);
      default:
        return AppendSome(id, space);
    }
  }

  void OpenNew() {
    const std::uint64_t id = next_space_++;
    spaces_[id].epoch_sent = 1;
    EXPECT_TRUE(log_->OpenSpace(SpaceId(id), Opening(1), [this, id](const SpaceAnswer& answer) {
                      EXPECT_EQ(answer.outcome, Outcome::kTaken);
                      spaces_[id].epoch = std::max<std::uint64_t>(spaces_[id].epoch, 1);
                    }).ok());
  }
  void FenceSpace(std::uint64_t id, Space& space) {
    const std::uint64_t epoch = ++space.epoch_sent;
    EXPECT_TRUE(log_->Fence(SpaceId(id), Epoch(epoch), kPnode, [this, id, epoch](const SpaceAnswer& answer) {
                      if (answer.outcome == Outcome::kTaken) spaces_[id].epoch = std::max(spaces_[id].epoch, epoch);
                    }).ok());
  }
  void EndOne(std::uint64_t id, Space& space) {
    space.end_sent = true;
    EXPECT_TRUE(log_->EndSpace(SpaceId(id), Epoch(space.epoch_sent), [this, id](const SpaceAnswer& answer) {
                      spaces_[id].end_acknowledged = answer.outcome == Outcome::kTaken || answer.outcome == Outcome::kAlready;
                      ++reached["space_ended"];
                    }).ok());
  }
  void TrimOne(std::uint64_t id, Space& space) {
    const std::uint64_t number = random_() % 90;
    Page& page = space.pages[number];
    const std::uint64_t upto = page.sent++;
    if (upto == 0) return;
    page.trim_sent = upto;
    const TrimRange range{.first = PageNumber(number), .count = 1, .upto = Version(upto)};
    EXPECT_TRUE(log_->Trim(SpaceId(id), Epoch(space.epoch_sent), {&range, 1}, [this, id, number, upto](const SpaceAnswer& answer) {
                      Page& trimmed = spaces_[id].pages[number];
                      if (answer.outcome == Outcome::kTaken) trimmed.trim_acknowledged = std::max(trimmed.trim_acknowledged, upto);
                    }).ok());
  }
  void AppendSome(std::uint64_t id, Space& space) {
    const bool stale = space.epoch > 1 && random_() % 10 == 0;  // an old home that has not heard of the fence
    std::vector<PageAppend> appends;
    std::vector<std::pair<std::uint64_t, std::uint64_t>> sent;
    for (std::uint64_t count = 1 + random_() % 24; count > 0; --count) {
      const std::uint64_t number = random_() % 90;
      Page& page = space.pages[number];
      const bool repair = page.rotten != 0 && page.rotten == page.acknowledged && random_() % 2 == 0;
      const std::uint64_t version = repair ? page.rotten : stale ? page.sent + 1 : ++page.sent;
      PageAppend append = version % 5 == 0 ? ZeroPage(id, number, version) : kept_.emplace_back(id, number, version).Append();
      append.epoch = Epoch(stale ? space.epoch - 1 : space.epoch_sent);
      appends.push_back(append);
      sent.emplace_back(number, version);
    }
    const absl::Status status = log_->Append(appends, [this, id, sent, stale](std::span<const AppendResult> results) {
      for (std::size_t i = 0; i < sent.size(); ++i) {
        Page& page = spaces_[id].pages[sent[i].first];
        const Outcome outcome = results[i].outcome;
        if (stale) {
          EXPECT_TRUE(outcome == Outcome::kStaleEpoch || outcome == Outcome::kEnded) << "a fence was acknowledged";
          ++reached["stale_epoch"];
          continue;
        }
        if (outcome != Outcome::kTaken && outcome != Outcome::kSuperseded && outcome != Outcome::kAlready) continue;
        reached["superseded"] += outcome == Outcome::kSuperseded;
        const bool repaired = outcome == Outcome::kTaken && sent[i].second == page.rotten;
        reached["repaired"] += repaired;
        page.acknowledged = std::max(page.acknowledged, sent[i].second);
        if (repaired || page.acknowledged > page.rotten) page.rotten = 0;
      }
    });
    reached["full_or_queue_full"] += absl::IsResourceExhausted(status);
    EXPECT_TRUE(status.ok() || absl::IsResourceExhausted(status)) << status;
  }
  // The atlas: one bit of a page that a mark proves acknowledged. (Rot of what no mark covers looks like a torn write.)
  void Rot(std::uint64_t id, Space& space) {
    disk_->set_auto_complete(true);
    for (int i = 0; i < 2; ++i) {
      for (int turn = 0; turn < 2000 && !log_->idle(); ++turn)
        if (!log_->Poll().ok()) return;
      clock_.Advance(absl::Milliseconds(60));
      if (!log_->Poll().ok()) return;
    }
    disk_->set_auto_complete(false);
    const std::uint64_t number = random_() % 90;
    const PageSlot* slot = log_->index().FindPage(SpaceId(id), PageNumber(number));
    if (slot == nullptr || slot->block == 0 || slot->bad || disk_->pending_writes() > 0) return;
    medium_.segments.at(slot->segment)[slot->block * disk::kBlockBytes + random_() % disk::kBlockBytes] ^= std::byte{1};
    space.pages[number].rotten = slot->version.value();
    ++reached["rotted"];
  }

  void Check() {
    ASSERT_EQ(Stat("suspect_spaces"), 0U) << "a crash was taken for damage";
    for (auto& [id, space] : spaces_) {
      const SpaceRecord* record = log_->FindSpace(SpaceId(id));
      const bool ended = record == nullptr || record->ended;
      ASSERT_TRUE(ended || !space.end_acknowledged) << "space " << id << " came back from its end";
      if (ended) {
        ASSERT_TRUE(space.end_sent || space.epoch == 0) << "space " << id << " is gone";
        space.end_sent = true;
        continue;
      }
      ASSERT_GE(record->open.epoch.value(), space.epoch) << "a fence was forgotten";
      space.epoch = space.epoch_sent = record->open.epoch.value();
      space.end_sent = false;
      for (auto& [number, page] : space.pages) CheckPage(id, number, page);
    }
    std::erase_if(spaces_, [](const auto& entry) { return entry.second.end_sent; });
  }
  void CheckPage(std::uint64_t id, std::uint64_t number, Page& page) {
    SCOPED_TRACE(absl::StrCat("space ", id, " page ", number));
    const PageSlot* slot = log_->index().FindPage(SpaceId(id), PageNumber(number));
    if (slot == nullptr) {
      ASSERT_TRUE(page.acknowledged == 0 || page.trim_sent >= page.acknowledged) << "lost version " << page.acknowledged;
      page.acknowledged = page.rotten = 0;
      return;
    }
    const std::uint64_t held = slot->version.value();
    ASSERT_GE(held, page.acknowledged);
    ASSERT_LE(held, page.sent) << "invented";
    ASSERT_GT(held, page.trim_acknowledged) << "came back from a trim";
    if (IsBad(id, number)) {
      ASSERT_EQ(page.rotten, held) << "lost without rot";
      reached["lost_kept_known"] += slot->bad && slot->block == 0;
    } else {
      ASSERT_EQ(Held(id, number), held);
      page.rotten = 0;
    }
    page.acknowledged = held;
  }

  std::mt19937_64 random_;
  std::map<std::uint64_t, Space> spaces_;
  std::uint64_t next_space_ = 5;
  std::deque<TestPage> kept_;
};

TEST_F(LogSim, WhatWasAcknowledgedIsThereAndNothingIsInvented) {
  log::SetLevel(log::Level::kError);
  const std::uint64_t first = only_seed != 0 ? only_seed : 1, count = only_seed != 0 ? 1 : seed_count;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    SCOPED_TRACE(absl::StrCat("replay with --sim_seed=", seed));
    RunSeed(seed);
    ASSERT_FALSE(HasFailure());
  }
  for (const auto& [name, value] : reached) std::printf("%s=%lu ", name.c_str(), static_cast<unsigned long>(value));
  std::printf("\n");
  if (only_seed != 0) return;
  for (const char* name : {"crash_with_writes_in_flight", "crash_in_start", "cleaned", "write_error", "rotted", "bad_page_found", "stale_epoch", "repaired",
                           "space_ended", "quarantine", "scrubbed", "lost_kept_known", "second_write_error"})
    EXPECT_GT(reached[name], 0U) << name << ": no seed went there";
}

}  // namespace
}  // namespace ashlar::snode

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--sim_seed=", 11) == 0) ashlar::snode::only_seed = std::strtoull(argv[i] + 11, nullptr, 10);
    if (std::strncmp(argv[i], "--sim_seeds=", 12) == 0) ashlar::snode::seed_count = std::strtoull(argv[i] + 12, nullptr, 10);
  }
  return RUN_ALL_TESTS();
}
