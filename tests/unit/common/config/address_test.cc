#include "common/config/address.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ashlar::config {
namespace {

TEST(Address, BothFamiliesAreReadAndWrittenBack) {
  const Address v4 = *ParseAddress("127.0.0.1:7401");
  EXPECT_EQ(v4.ip, "127.0.0.1");
  EXPECT_EQ(v4.port, 7401);
  EXPECT_TRUE(v4.is_loopback);
  EXPECT_EQ(v4.ToString(), "127.0.0.1:7401");

  const Address v6 = *ParseAddress("[FD00:0:0::11]:65535");
  EXPECT_EQ(v6.ip, "fd00::11");
  EXPECT_FALSE(v6.is_loopback);
  EXPECT_EQ(v6.ToString(), "[fd00::11]:65535");
  EXPECT_TRUE(ParseAddress("[::1]:1")->is_loopback);
  EXPECT_TRUE(ParseAddress("127.9.9.9:1")->is_loopback);
  EXPECT_FALSE(ParseAddress("128.0.0.1:1")->is_loopback);
}

TEST(Address, WhatNobodyCanConnectToIsRefused) {
  for (std::string_view text :
       {"", ":", ":7401", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536", "127.0.0.1:07401", "127.0.0.1:-1",
        "127.0.0.1: 1", " 127.0.0.1:1", "127.1:1", "0127.0.0.1:1", "256.0.0.1:1", "0.0.0.0:1", "255.255.255.255:1",
        "224.0.0.1:1", "localhost:7401", "::1:7401", "[::]:1", "[::1]", "[::1:1", "[]:1", "[127.0.0.1]:1", "[ff02::1]:1",
        "[::ffff:127.0.0.1]:1", "[fe80::1%eth0]:1"}) {
    const auto parsed = ParseAddress(text);
    EXPECT_FALSE(parsed.ok()) << text;
    EXPECT_FALSE(parsed.status().message().empty());
  }
  EXPECT_FALSE(ParseAddress(std::string_view("127.0.0.1\0:1", 12)).ok());
  EXPECT_FALSE(ParseAddress(std::string(100'000, '1') + ":1").ok());
}

TEST(Address, AnIpv6AddressWithoutBracketsIsExplained) {
  EXPECT_THAT(std::string(ParseAddress("fd00::1:7401").status().message()), ::testing::HasSubstr("brackets"));
}

}  // namespace
}  // namespace ashlar::config
