#include "common/config/stored_counter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "absl/strings/escaping.h"
#include "common/base/crc32c.h"

namespace ashlar::config {
namespace {

const NodeId kNode(0x1122334455667788);
constexpr std::uint64_t kValue = 0x0102030405060708;

std::string Good() { return EncodeCounter(CounterKind::kIncarnation, kNode, kValue); }
absl::StatusOr<std::uint64_t> Decode(const std::string& bytes) {
  return DecodeCounter(bytes, CounterKind::kIncarnation, kNode);
}
std::string FixChecksum(std::string bytes) {
  const std::uint32_t crc = Crc32c(std::as_bytes(std::span(bytes.data(), 28)));
  std::memcpy(bytes.data() + 28, &crc, sizeof(crc));
  return bytes;
}
std::string SetByte(std::size_t at, char value) {
  std::string bytes = Good();
  bytes[at] = value;
  return bytes;
}

TEST(StoredCounter, HasItsGoldenBytes) {
  EXPECT_EQ(absl::BytesToHexString(Good()),
            "43485341" "0100" "0100" "8877665544332211" "0807060504030201" "00000000" "85e187a2");
  EXPECT_EQ(*Decode(Good()), kValue);
}

TEST(StoredCounter, AnyFlippedBitIsDamage) {
  for (std::size_t bit = 0; bit < kStoredCounterBytes * 8; ++bit) {
    std::string bytes = Good();
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_TRUE(absl::IsDataLoss(Decode(bytes).status())) << bit;
  }
}

TEST(StoredCounter, AnyOtherLengthIsDamage) {
  for (std::size_t size = 0; size < kStoredCounterBytes; ++size) {
    EXPECT_TRUE(absl::IsDataLoss(Decode(Good().substr(0, size)).status())) << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(Decode(Good() + "x").status()));
}

TEST(StoredCounter, WhatIsWholeButNotOursIsAFailedPrecondition) {
  EXPECT_TRUE(absl::IsFailedPrecondition(Decode(FixChecksum(SetByte(4, 2))).status())) << "version";
  EXPECT_TRUE(absl::IsFailedPrecondition(Decode(FixChecksum(SetByte(6, 2))).status())) << "kind";
  EXPECT_TRUE(absl::IsFailedPrecondition(Decode(FixChecksum(SetByte(8, 0))).status())) << "node";
  EXPECT_TRUE(absl::IsFailedPrecondition(Decode(FixChecksum(SetByte(24, 1))).status())) << "reserved";
}

}  // namespace
}  // namespace ashlar::config
