#include "common/fit/handshake.h"

#include <gtest/gtest.h>

#include "common/fit/token_table.h"

namespace ashlar::fit {
namespace {

const Client kClient{NodeId(1), Incarnation(2), 3};

std::span<const std::byte> BytesOf(const wire::Hello& hello) { return std::as_bytes(std::span(&hello, 1)); }

TEST(Handshake, BothEndsAreProved) {
  Token token;
  FillRandom(token);
  wire::Hello hello = MakeHello(token, {.token_id = 5, .connection_epoch = 6, .shard = 0, .slots = 32});
  EXPECT_TRUE(IsProved(token, hello));
  EXPECT_TRUE(CheckHelloAck(token, hello, BytesOf(MakeHelloAck(token, hello, 32))).ok());
}

TEST(Handshake, AnAnswerWithoutTheTokenIsRefused) {
  Token token, other;
  FillRandom(token);
  FillRandom(other);
  wire::Hello hello = MakeHello(token, {.token_id = 5, .connection_epoch = 6, .shard = 0, .slots = 32});
  EXPECT_TRUE(absl::IsUnauthenticated(CheckHelloAck(token, hello, BytesOf(MakeHelloAck(other, hello, 32)))));
  EXPECT_TRUE(absl::IsUnauthenticated(CheckHelloAck(token, hello, BytesOf(hello)))) << "our own hello, sent back";
  wire::Hello older = MakeHello(token, {.token_id = 5, .connection_epoch = 6, .shard = 0, .slots = 32});
  EXPECT_TRUE(absl::IsUnauthenticated(CheckHelloAck(token, hello, BytesOf(MakeHelloAck(token, older, 32))))) << "an older answer";
  EXPECT_TRUE(absl::IsUnauthenticated(CheckHelloAck(token, hello, {})));
}

TEST(Handshake, EveryFlippedBitOfAHelloIsNoticed) {
  Token token;
  FillRandom(token);
  wire::Hello hello = MakeHello(token, {.token_id = 5, .connection_epoch = 6, .shard = 0, .slots = 32});
  for (std::size_t bit = 0; bit < sizeof(hello) * 8; ++bit) {
    wire::Hello damaged = hello;
    reinterpret_cast<unsigned char*>(&damaged)[bit / 8] ^= static_cast<unsigned char>(1 << bit % 8);
    EXPECT_FALSE(IsProved(token, damaged)) << bit;
  }
}

class TokenTableTest : public testing::Test {
 protected:
  wire::Hello HelloFor(const TokenTable::Issued& issued, std::uint64_t epoch = 9, std::uint16_t shard = 3) {
    return MakeHello(issued.token, {.token_id = issued.token_id, .connection_epoch = epoch, .shard = shard, .slots = 32});
  }
  TokenTable table_{1000};
};

TEST_F(TokenTableTest, ATokenIsGoodOnceForItsClient) {
  auto issued = *table_.Issue(kClient, 9, 0);
  wire::Hello hello = HelloFor(issued);
  auto entry = table_.Redeem(hello, 10);
  ASSERT_TRUE(entry.ok());
  EXPECT_EQ(entry->client, kClient);
  EXPECT_TRUE(absl::IsUnauthenticated(table_.Redeem(hello, 10).status())) << "replayed";
}

TEST_F(TokenTableTest, AnExpiredTokenIsRefused) {
  auto issued = *table_.Issue(kClient, 9, 0);
  EXPECT_TRUE(table_.IsOpen(issued.token_id, 999));
  EXPECT_FALSE(table_.IsOpen(issued.token_id, 1000));
  EXPECT_TRUE(absl::IsUnauthenticated(table_.Redeem(HelloFor(issued), 1000).status()));
}

TEST_F(TokenTableTest, AWrongMacLeavesTheTokenToItsOwner) {
  auto issued = *table_.Issue(kClient, 9, 0);
  TokenTable::Issued guess = issued;
  guess.token[0] ^= std::byte{1};
  EXPECT_TRUE(absl::IsUnauthenticated(table_.Redeem(HelloFor(guess), 1).status()));
  EXPECT_TRUE(table_.Redeem(HelloFor(issued), 1).ok());
}

TEST_F(TokenTableTest, ATokenForAnotherLinkIsRefused) {
  EXPECT_TRUE(absl::IsUnauthenticated(table_.Redeem(HelloFor(*table_.Issue(kClient, 9, 0), 8), 1).status()));
  EXPECT_TRUE(absl::IsUnauthenticated(table_.Redeem(HelloFor(*table_.Issue(kClient, 9, 0), 9, 4), 1).status()));
  wire::Hello stranger = MakeHello({}, {.token_id = 1, .connection_epoch = 9, .shard = 3, .slots = 1});
  EXPECT_TRUE(absl::IsUnauthenticated(table_.Redeem(stranger, 1).status()));
}

TEST_F(TokenTableTest, OpenTokensAreBoundedAndExpiredOnesMakeRoom) {
  for (std::size_t i = 0; i < TokenTable::kMaxOpen; ++i) ASSERT_TRUE(table_.Issue(kClient, i, 0).ok());
  EXPECT_TRUE(absl::IsResourceExhausted(table_.Issue(kClient, 1, 999).status()));
  EXPECT_TRUE(table_.Issue(kClient, 1, 1000).ok());
}

TEST(FailureBrake, ClosesForASecondAfterTenFailuresInOne) {
  FailureBrake brake;
  std::uint64_t now = 5'000'000'000;
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(brake.RecordFailure("10.0.0.1", now));
  EXPECT_FALSE(brake.Closed("10.0.0.1", now));
  EXPECT_TRUE(brake.RecordFailure("10.0.0.1", now));
  EXPECT_FALSE(brake.RecordFailure("10.0.0.1", now)) << "one log line";
  EXPECT_TRUE(brake.Closed("10.0.0.1", now + 999'999'999));
  EXPECT_FALSE(brake.Closed("10.0.0.2", now));
  EXPECT_FALSE(brake.Closed("10.0.0.1", now + 1'000'000'000));
}

TEST(FailureBrake, SlowFailuresAndManySourcesAreBorne) {
  FailureBrake brake;
  for (std::uint64_t i = 1; i < 100; ++i) EXPECT_FALSE(brake.RecordFailure("a", i * 500'000'000));
  for (int i = 0; i < 5000; ++i) brake.RecordFailure(std::to_string(i), 1);
}

}  // namespace
}  // namespace ashlar::fit
