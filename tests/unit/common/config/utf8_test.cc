#include "common/config/utf8.h"

#include <gtest/gtest.h>

namespace ashlar::config {
namespace {

TEST(Utf8, CharactersOfEachLengthAreRead) {
  EXPECT_EQ(FirstCharacter("a").code_point, U'a');
  EXPECT_EQ(FirstCharacter("é").code_point, U'é');
  EXPECT_EQ(FirstCharacter("€").code_point, U'€');
  EXPECT_EQ(FirstCharacter("𝄞x").code_point, U'𝄞');
  EXPECT_EQ(FirstCharacter("𝄞x").length, 4u);
}

TEST(Utf8, WhatIsNoCharacterIsInvalid) {
  for (std::string_view text : {"\x80", "\xc0\xaf", "\xc1\x81", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf0\x80\x80\x80",
                                "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x82", "\xc3("}) {
    EXPECT_FALSE(IsValidUtf8(text));
    EXPECT_EQ(FirstCharacter(text).length, 0u);
  }
  EXPECT_TRUE(IsValidUtf8(""));
  EXPECT_TRUE(IsValidUtf8("aé€𝄞"));
}

TEST(Utf8, ControlsAndBidiMarksNeverReachATerminal) {
  EXPECT_EQ(PrintableCharacters("a\x1b[31m\tb\x80\u202eé", 0, 100), "a?[31m b??é");
  EXPECT_EQ(PrintableCharacters("aé€b", 1, 2), "é€");
  EXPECT_EQ(PrintableCharacters("ab", 5, 2), "");
  EXPECT_EQ(CountCharacters("aé€\x80"), 4);
}

}  // namespace
}  // namespace ashlar::config
