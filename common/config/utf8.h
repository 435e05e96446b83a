// The little of UTF-8 that pointing into a text file, and showing what others wrote, takes.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ashlar::config {

// One character at the start of `text`: its length in bytes and its code point. length 0: not valid UTF-8 (overlong
// forms and surrogates included), or the text is empty.
struct Character {
  std::size_t length = 0;
  char32_t code_point = 0;
};
Character FirstCharacter(std::string_view text);

bool IsValidUtf8(std::string_view text);
// A byte that is no part of a character counts as one.
int CountCharacters(std::string_view text);
// C0 and C1 controls, DEL, and the marks that reorder or hide text on a terminal. A tab or line break is one, too.
bool IsControl(char32_t code_point);
// `count` characters after the first `skip`, what is invalid or control shown as '?', a tab as a space.
std::string PrintableCharacters(std::string_view text, int skip, int count);

}  // namespace ashlar::config
