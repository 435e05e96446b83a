#include "daemons/pnode/injection/handoff_message.h"

#include <cstring>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ashlar::pnode::handoff {
namespace {

template <typename Message>
std::vector<std::byte> Bytes(const Message& message) {
  const auto bytes = std::as_bytes(std::span(&message, 1));
  return {bytes.begin(), bytes.end()};
}

TEST(HandoffMessage, GrantHasItsGoldenBytes) {
  auto grant = Make<Grant>();
  grant.space_id = 0x0102030405060708;
  grant.limit_bytes = 64 << 20;
  grant.staging_pages = 256;
  grant.victim_slots = 1966;
  grant.give_up_ms = 60'000;
  grant.has_device = 1;
  const unsigned char golden[] = {'A',  'S',  'R',  'H',  2,    0,    2,    0,    48,   0,    0,    0,
                                  0,    0,    0,    0,    0x08, 0x07, 0x06, 0x05, 0x04, 0x03, 0x02, 0x01,
                                  0,    0,    0,    4,    0,    0,    0,    0,    0,    1,    0,    0,
                                  0xae, 0x07, 0,    0,    0x60, 0xea, 0,    0,    1,    0,    0,    0};
  ASSERT_EQ(sizeof(golden), sizeof(grant));
  EXPECT_EQ(std::memcmp(&grant, golden, sizeof(golden)), 0);
}

TEST(HandoffMessage, EachKindIsParsedAsItselfOnly) {
  const auto bytes = Bytes(Make<Ready>());
  EXPECT_TRUE(Parse<Ready>(bytes).ok());
  EXPECT_FALSE(Parse<Hold>(bytes).ok()) << "same size, another kind";
  EXPECT_FALSE(Parse<Grant>(bytes).ok());
}

TEST(HandoffMessage, EachDamageOfTheHeaderIsRefused) {
  const auto good = Bytes(Make<Exited>());
  ASSERT_TRUE(Parse<Exited>(good).ok());
  for (std::size_t i = 0; i < sizeof(Header); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      auto bad = good;
      bad[i] ^= static_cast<std::byte>(1 << bit);
      EXPECT_TRUE(absl::IsInvalidArgument(Parse<Exited>(bad).status())) << "byte " << i << " bit " << bit;
    }
  }
}

TEST(HandoffMessage, ShortAndLongPacketsAreRefused) {
  auto bytes = Bytes(Make<Exited>());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_FALSE(Parse<Exited>(std::span(bytes).first(length)).ok()) << length;
  }
  bytes.push_back(std::byte{0});
  EXPECT_FALSE(Parse<Exited>(bytes).ok());
}

TEST(HandoffMessage, TextIsCutToItsFieldAndMadeHarmless) {
  char field[8];
  PutText(field, "0123456789");
  EXPECT_EQ(GetText(field), "0123456");
  PutText(field, "a\033[2Jb");
  EXPECT_EQ(GetText(field), "a?[2Jb");
  std::memset(field, 'x', sizeof(field));  // a peer that leaves no zero
  EXPECT_EQ(GetText(field), "xxxxxxxx");
}

TEST(HandoffMessage, RefusalCarriesCodeAndWords) {
  const absl::Status status = absl::ResourceExhaustedError("cache_bytes is full");
  EXPECT_EQ(StatusOf(MakeRefusal(status)), status);
  auto strange = MakeRefusal(status);
  for (const std::uint32_t code : {0u, 17u, 0xffffffffu}) {
    strange.code = code;
    EXPECT_EQ(StatusOf(strange).code(), absl::StatusCode::kUnknown);
  }
  EXPECT_FALSE(StatusOf(MakeRefusal(absl::OkStatus())).ok());
}

}  // namespace
}  // namespace ashlar::pnode::handoff
