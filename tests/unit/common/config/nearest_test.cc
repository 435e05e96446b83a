#include "common/config/nearest.h"

#include <gtest/gtest.h>

#include <string>

namespace ashlar::config {
namespace {

const std::vector<std::string_view> kKnown = {"role", "control", "cache_bytes", "pool_bytes", "log"};

TEST(Nearest, AMistypedWordFindsItsNeighbour) {
  EXPECT_EQ(NearestWord("rol", kKnown), "role");
  EXPECT_EQ(NearestWord("orle", kKnown), "role");
  EXPECT_EQ(NearestWord("cache_byts", kKnown), "cache_bytes");
  EXPECT_EQ(NearestWord("contorl", kKnown), "control");
  EXPECT_EQ(NearestWord("pool", kKnown), "pool_bytes");
}

TEST(Nearest, AStrangeWordFindsNone) {
  EXPECT_EQ(NearestWord("metrics", kKnown), "");
  EXPECT_EQ(NearestWord("", kKnown), "");
  EXPECT_EQ(NearestWord("x", {}), "");
  EXPECT_EQ(NearestWord(std::string(100'000, 'r'), kKnown), "");
}

}  // namespace
}  // namespace ashlar::config
