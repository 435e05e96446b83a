#include "cli/json.h"

#include "gtest/gtest.h"
#include "tests/unit/cli/fake_cluster.h"

namespace ashlar::cli {
namespace {

TEST(Json, PrintsEveryKindOfValueInOrder) {
  Json list = Json::Array();
  list.Add(1).Add("two");
  const std::string text = Json::Object()
                               .Set("z", ~std::uint64_t{0})
                               .Set("a", -5)
                               .Set("yes", true)
                               .Set("list", list)
                               .Set("none", Json::Array())
                               .Set("empty", Json::Object())
                               .ToString();
  EXPECT_EQ(text, R"({
  "z": 18446744073709551615,
  "a": -5,
  "yes": true,
  "list": [
    1,
    "two"
  ],
  "none": [],
  "empty": {}
}
)");
  EXPECT_TRUE(IsJson(text));
}

TEST(Json, HostileTextStaysOneString) {
  const std::string text = Json::Object().Set("name", std::string("a\"b\\c\n\x1b[31m\xff\xc3\x28\0", 16)).ToString();
  EXPECT_TRUE(IsJson(text));
  EXPECT_NE(text.find(R"(a\"b\\c?)"), std::string::npos) << text;
  EXPECT_TRUE(IsJson(Json("π€𝄞").ToString()));
}

}  // namespace
}  // namespace ashlar::cli
