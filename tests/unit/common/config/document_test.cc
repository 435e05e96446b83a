#include "common/config/document.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/config/lexical_check.h"

namespace ashlar::config {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// "line:column what" of each fault.
std::vector<std::string> FaultsOf(std::string_view text) {
  FaultList faults(text, "t");
  Value root;
  const bool parsed = ParseDocument(text, faults, &root);
  std::vector<std::string> lines;
  for (const Fault& fault : faults.Take()) {
    lines.push_back(std::to_string(fault.place.line) + ":" + std::to_string(fault.place.column) + " " + fault.what);
  }
  EXPECT_TRUE(parsed || !lines.empty()) << "refused without a word: " << text;
  return lines;
}

TEST(Document, RemembersWhereEverythingStands) {
  const std::string text = "# c\na: {é: \"x y\", b: [1, 2]}\r\n'c':\n  - d: e\n";
  FaultList faults(text, "t");
  Value root;
  ASSERT_TRUE(ParseDocument(text, faults, &root));
  ASSERT_EQ(root.entries.size(), 2u);
  const Value& flow = root.entries[0].value;
  EXPECT_EQ(flow.entries[0].key, "é");
  EXPECT_TRUE(flow.entries[0].value.quoted);
  const Place quoted = faults.PlaceOf(flow.entries[0].value.span);
  EXPECT_EQ(quoted.line, 2);
  EXPECT_EQ(quoted.column, 8);  // in characters
  EXPECT_EQ(quoted.width, 5);
  EXPECT_EQ(flow.entries[1].value.items[1].scalar, "2");
  EXPECT_EQ(root.entries[1].key, "c");
  EXPECT_EQ(root.entries[1].value.items[0].entries[0].value.scalar, "e");
}

TEST(Document, UsualYamlPasses) {
  for (std::string_view text :
       {"", "# only a comment\n", "a: 1", "---\na: 1\n", "# c\n--- # d\na: 1\n", "a: b#c\n", "a: b & c\n", "a: b*c!d\n",
        "a: 'it''s'\n", "a: \"q \\\" & *x\"\n", "a: [1, {b: c}, []]\n", "a: -1\n", "a: ?x\n", "a:\n- b\n- - c\n", "a: {}\n",
        "{\"a\":1}\n", "a: http://x/y\n", "a: 1 # &x *y !z [ {\n", "a: [b, # [\n c]\n", "a: {b: xy, c: -d}\n", "a: x?y\n"}) {
    EXPECT_THAT(FaultsOf(text), IsEmpty()) << text;
  }
}

TEST(Document, AnchorsAliasesAndTagsAreAllReportedAtOnce) {
  EXPECT_THAT(FaultsOf("a: &x 1\nb: *x\nc: !t 2\nd: [&y z, !!str w]\n<<: *x\n- &z e"),
              ElementsAre("1:4 anchors are refused", "2:4 aliases are refused", "3:4 tags are refused",
                          "4:5 anchors are refused", "4:11 tags are refused", "5:5 aliases are refused",
                          "6:3 anchors are refused"));
}

TEST(Document, PartsOfYamlThatWeDoNotUseAreRefused) {
  EXPECT_THAT(FaultsOf("a: |\n  text\n"), ElementsAre("1:4 block text is not used here"));
  EXPECT_THAT(FaultsOf("a: >-\n  text\n"), ElementsAre("1:4 block text is not used here"));
  EXPECT_THAT(FaultsOf("? a\n: b\n"), ElementsAre("1:1 \"?\" keys are not used here"));
  EXPECT_THAT(FaultsOf("%YAML 1.2\n---\na: 1\n"), ElementsAre("1:1 YAML directives are not used here"));
  EXPECT_THAT(FaultsOf("a: 1\n---\nb: 2\n"), ElementsAre("2:1 a second document starts here"));
  EXPECT_THAT(FaultsOf("---\n---\nb: 2\n"), ElementsAre("2:1 a second document starts here"));
  EXPECT_THAT(FaultsOf("a: 1\n...\nb: 2\n"), ElementsAre("2:1 a document end is not used here"));
  EXPECT_THAT(FaultsOf("--- a: 1\n"), ElementsAre("1:5 text after \"---\""));
  EXPECT_THAT(FaultsOf("a: @b\n"), ElementsAre("1:4 a value cannot start with \"@\""));
  EXPECT_THAT(FaultsOf("[a]: b\n"), ElementsAre("1:1 a key must be a word"));
  EXPECT_THAT(FaultsOf("{a: 1}\nb: 2\n"), ElementsAre("2:1 text after the end of the document"));
}

TEST(Document, BrokenStructureIsReportedWhereItStarts) {
  EXPECT_THAT(FaultsOf("a: \"b\nc: d\n"), ElementsAre("1:4 this \" is never closed on its line"));
  EXPECT_THAT(FaultsOf("a: 'b\n  c'\n"), ElementsAre("1:4 this ' is never closed on its line"));
  EXPECT_THAT(FaultsOf("a: [1, {b: 2}\nc: 3\n"), ElementsAre("1:4 \"[\" is never closed"));
  EXPECT_THAT(FaultsOf("a: [1}\n"), ElementsAre("1:6 \"}\" closes nothing that is open"));
  EXPECT_THAT(FaultsOf("a: ]\n"), ElementsAre("1:4 \"]\" closes nothing that is open"));
  EXPECT_THAT(FaultsOf("a:\n\tb: 1\n"), ElementsAre("2:1 tab in the indentation"));
  EXPECT_THAT(FaultsOf("a: b: c\n"), ElementsAre("1:5 YAML syntax: illegal map value"));
}

TEST(Document, RepeatedKeysNameBothPlacesAndTheFirstCounts) {
  EXPECT_THAT(FaultsOf("a: 1\nb: {c: 1, c: 2}\na: 3\n"),
              ElementsAre("2:11 repeated key; it stands first at line 2, column 5",
                          "3:1 repeated key; it stands first at line 1, column 1"));
}

TEST(Document, WhatIsNoTextIsRefused) {
  EXPECT_THAT(FaultsOf(std::string_view("a: \0b", 5)), ElementsAre("1:4 control character U+0000"));
  EXPECT_THAT(FaultsOf("a: \x1b[31m"), ElementsAre("1:4 control character U+001B"));
  EXPECT_THAT(FaultsOf("aé: \xff"), ElementsAre("1:5 byte 0xff is not UTF-8"));
  EXPECT_THAT(FaultsOf("a: b\rc: d\n"), ElementsAre("1:5 control character U+000D"));
  EXPECT_THAT(FaultsOf("a: \u202e1\n"), ElementsAre("1:4 control character U+202E"));
  EXPECT_THAT(FaultsOf("\xff\xfe" "a"), ElementsAre("1:1 byte 0xff is not UTF-8"));
}

TEST(Document, NestingIsBoundedInBlockAndFlow) {
  std::string block, flow;
  for (int i = 0; i < kMaxDepth; ++i) {
    block += std::string(static_cast<std::size_t>(i), ' ') + "a:\n";
    flow += "[";
  }
  const std::string closing(static_cast<std::size_t>(kMaxDepth), ']');
  EXPECT_THAT(FaultsOf(block), IsEmpty());
  EXPECT_THAT(FaultsOf(flow + closing), IsEmpty());
  EXPECT_THAT(FaultsOf(block + std::string(kMaxDepth, ' ') + "b: c\n"), ElementsAre("17:17 nested deeper than 16"));
  EXPECT_THAT(FaultsOf("[" + flow + closing + "]"), ElementsAre("1:17 nested deeper than 16"));
  for (std::string_view unit : {"[", "{", "- ", "? ", ": ", "a: ", "[[]", "{a: "}) {
    std::string text;
    while (text.size() < kMaxLineBytes) text += unit;
    EXPECT_FALSE(FaultsOf(text.substr(0, kMaxLineBytes)).empty()) << unit;
  }
}

TEST(Document, LongLinesAreRefused) {
  EXPECT_THAT(FaultsOf("a: " + std::string(kMaxLineBytes, 'b')), ElementsAre("1:1 line is longer than 4096 bytes"));
  EXPECT_THAT(FaultsOf("a: " + std::string(kMaxLineBytes - 3, 'b')), IsEmpty());
}

// Each of these made some version of yaml-cpp abort on `!m_tokens.empty()`, or run out of stack or memory.
TEST(Document, InputsThatOnceKilledYamlCppAreRefused) {
  for (std::string_view text : {"!", "!2", "a: [&b", "&", "[&", "{!", "- !x", "[*", "a: !", "[[:", "{!\xdb:", "!\n: |\nb\n>\n|\n  !\n>",
                                "{\"access\"", "{\"a\":", "{\"a\":\"", "[!<", "a: [b, &", "!<!"}) {
    EXPECT_FALSE(FaultsOf(text).empty()) << text;
  }
}

// Every text of up to four characters that mean something to YAML. yaml-cpp would abort the process at an assert, so
// reaching the end is half of the claim; the other half is in FaultsOf: nothing is refused without a word.
TEST(Document, EveryShortTextIsReadOrRefusedWithWords) {
  constexpr std::string_view kAlphabet = "a \n:-[]{},\"'#?~";
  int read = 0, refused = 0;
  for (std::size_t length = 1; length <= 4; ++length) {
    std::size_t count = 1;
    for (std::size_t i = 0; i < length; ++i) count *= kAlphabet.size();
    for (std::size_t number = 0; number < count; ++number) {
      std::string text;
      for (std::size_t i = 0, rest = number; i < length; ++i, rest /= kAlphabet.size()) text += kAlphabet[rest % kAlphabet.size()];
      (FaultsOf(text).empty() ? read : refused)++;
    }
  }
  EXPECT_GT(read, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace ashlar::config
