#include "common/fabric/ledger.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ashlar::fabric {
namespace {

// What a ledger reports, as words: "ok 3", "flushed 4".
class LedgerTest : public ::testing::Test {
 protected:
  std::uint64_t Add(std::uint64_t wr_id, bool signalled, Op op = Op::kWrite) {
    const std::uint64_t position = ledger_.sends().end();
    LedgerEntry& entry = ledger_.sends().Add();
    entry.wr_id = WrId(wr_id);
    entry.op = op;
    entry.signalled = signalled;
    region_.Pin();
    entry.slices[entry.slice_count++] = {.region = &region_};
    return position;
  }
  void AddReceive(std::uint64_t wr_id) {
    LedgerEntry& entry = ledger_.receives().Add();
    entry.wr_id = WrId(wr_id);
    entry.op = Op::kReceive;
    entry.signalled = true;
  }
  bool Succeed(std::uint64_t position) {
    const bool current = ledger_.Succeed(LedgerToken(position));
    ledger_.RetireDone([this](RemoteKey) { return revoked_; }, Sink());
    return current;
  }
  std::function<void(const Completion&, Ledger::Side)> Sink() {
    return [this](const Completion& completion, Ledger::Side) {
      const auto* ok = std::get_if<Succeeded>(&completion);
      if (ok != nullptr) {
        reported_.push_back("ok " + std::to_string(ok->wr_id.value()));
      } else {
        const Failed& failed = std::get<Failed>(completion);
        reported_.push_back((failed.status == Status::kFlushed ? "flushed " : "cause ") + std::to_string(failed.wr_id.value()));
      }
    };
  }
  void TearDown() override { ledger_.FailAll(std::nullopt, [](const Completion&, Ledger::Side) {}); }

  std::byte memory_[8];
  PlainDomain domain_;
  CountedRegion region_{&domain_, memory_};
  Ledger ledger_{EndpointId(1), 4, 2};
  bool revoked_ = false;
  std::vector<std::string> reported_;
};
using Words = std::vector<std::string>;

TEST_F(LedgerTest, SuccessRetiresTheSilentOnesBeforeIt) {
  Add(1, false), Add(2, false);
  const std::uint64_t third = Add(3, true);
  Add(4, false);
  EXPECT_EQ(region_.uses(), 4u);
  EXPECT_TRUE(Succeed(third));
  EXPECT_EQ(reported_, Words({"ok 3"}));
  EXPECT_EQ(region_.uses(), 1u);
  EXPECT_EQ(ledger_.sends().size(), 1u);
}

TEST_F(LedgerTest, FailureNamesTheCauseFirstAndFlushesTheSilentOnesToo) {
  Add(1, false), Add(2, false);
  const std::uint64_t third = Add(3, true);
  Add(4, true);
  AddReceive(5);
  ledger_.FailAll(Ledger::Cause{.token = LedgerToken(third), .status = Status::kRemoteAccess}, Sink());
  EXPECT_EQ(reported_, Words({"cause 3", "flushed 1", "flushed 2", "flushed 4", "flushed 5"}));
  EXPECT_EQ(region_.uses(), 0u);
}

TEST_F(LedgerTest, ATokenOfAnotherGenerationFindsNothing) {
  const std::uint64_t first = Add(1, true);
  EXPECT_TRUE(Succeed(first));
  ledger_.Polled(Ledger::Side::kSend);
  for (std::uint64_t i = 2; i < 6; ++i) Add(i, true);  // the last took the slot of the first
  EXPECT_EQ(first % 4, (ledger_.sends().end() - 1) % 4);
  EXPECT_FALSE(Succeed(first));
  EXPECT_FALSE(Succeed(first + 5));
  EXPECT_FALSE(Succeed(~std::uint64_t{0}));
  EXPECT_EQ(reported_, Words({"ok 1"}));
  EXPECT_EQ(ledger_.sends().size(), 4u);
}

TEST_F(LedgerTest, CompletionsComeInTheOrderOfPosting) {
  const std::uint64_t read = Add(1, true, Op::kRead);
  const std::uint64_t write = Add(2, true);
  EXPECT_TRUE(Succeed(write));
  EXPECT_TRUE(reported_.empty()) << "the READ before it has no bytes yet";
  EXPECT_TRUE(Succeed(read));
  EXPECT_EQ(reported_, Words({"ok 1", "ok 2"}));
}

TEST_F(LedgerTest, ASilentReadIsNotCoveredByALaterSuccess) {
  const std::uint64_t read = Add(1, false, Op::kRead);
  const std::uint64_t write = Add(2, true);
  EXPECT_TRUE(Succeed(write));
  EXPECT_EQ(region_.uses(), 2u) << "the target of the READ is still to be written";
  EXPECT_TRUE(Succeed(read));
  EXPECT_EQ(reported_, Words({"ok 2"}));
}

TEST_F(LedgerTest, ARevocationEndsWhenItsWindowIsOutOfReach) {
  Add(1, true, Op::kRevoke);
  const std::uint64_t write = Add(2, true);
  EXPECT_TRUE(Succeed(write));
  EXPECT_TRUE(reported_.empty());
  revoked_ = true;
  EXPECT_TRUE(Succeed(write));
  EXPECT_EQ(reported_, Words({"ok 1", "ok 2"}));
}

TEST_F(LedgerTest, APlaceIsHeldUntilItsCompletionIsPolled) {
  for (std::uint64_t i = 0; i < 4; ++i) Add(i, true);
  EXPECT_EQ(ledger_.sends().room(), 0u);
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_TRUE(Succeed(i));
  EXPECT_EQ(ledger_.sends().room(), 0u);
  EXPECT_EQ(ledger_.outstanding(), 4u);
  ledger_.Polled(Ledger::Side::kSend);
  EXPECT_EQ(ledger_.sends().room(), 1u);
}

using LedgerDeathTest = LedgerTest;
TEST_F(LedgerDeathTest, ARegionMustOutliveWhatIsPostedOnIt) {
  EXPECT_DEATH(
      {
        auto region = std::make_unique<CountedRegion>(&domain_, memory_);
        region->Pin();
        region.reset();
      },
      "must outlive");
}

}  // namespace
}  // namespace ashlar::fabric
