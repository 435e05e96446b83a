#include "cli/table.h"

#include "gtest/gtest.h"

namespace ashlar::cli {
namespace {

using enum Table::Align;

TEST(Table, AlignsByCharactersAndEndsNoLineWithSpaces) {
  Table table({kLeft, kRight, kLeft}, {"NAME", "N", "LAST"});
  table.Row({"naïve", "1", ""});
  table.Row({"b", "1000"});
  EXPECT_EQ(table.ToString(" "), " NAME      N  LAST\n naïve     1\n b      1000\n");
}

TEST(Table, ACellCanNotCommandTheTerminal) {
  Table table({kLeft});
  table.Row({"\x1b[2J\nx"});
  EXPECT_EQ(table.ToString(), "?[2J?x\n");
}

TEST(Style, ColoursOnlyWhenAskedTo) {
  EXPECT_EQ(Style{}.Good("OK"), "OK");
  EXPECT_EQ(Style{.color = true}.Good("OK"), "\x1b[32mOK\x1b[0m");
}

}  // namespace
}  // namespace ashlar::cli
