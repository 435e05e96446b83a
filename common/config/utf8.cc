#include "common/config/utf8.h"

#include <algorithm>

namespace ashlar::config {

Character FirstCharacter(std::string_view text) {
  if (text.empty()) return {};
  const auto byte = [&text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, lead};
  const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < length) return {};
  char32_t code_point = lead & (0x7fu >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code_point = code_point << 6 | (byte(i) & 0x3fu);
  }
  const bool overlong = (length == 3 && code_point < 0x800) || (length == 4 && code_point < 0x10000);
  const bool surrogate = code_point >= 0xd800 && code_point <= 0xdfff;
  if (overlong || surrogate || code_point > 0x10ffff) return {};
  return {length, code_point};
}

bool IsValidUtf8(std::string_view text) {
  while (!text.empty()) {
    const Character character = FirstCharacter(text);
    if (character.length == 0) return false;
    text.remove_prefix(character.length);
  }
  return true;
}

int CountCharacters(std::string_view text) {
  int count = 0;
  while (!text.empty()) {
    text.remove_prefix(std::max<std::size_t>(1, FirstCharacter(text).length));
    ++count;
  }
  return count;
}

bool IsControl(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c <= 0x9f) || (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
         (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

std::string PrintableCharacters(std::string_view text, int skip, int count) {
  std::string printable;
  for (int i = 0; !text.empty() && i < skip + count; ++i) {
    const Character character = FirstCharacter(text);
    const std::size_t length = std::max<std::size_t>(1, character.length);
    if (i >= skip) {
      if (character.code_point == '\t') {
        printable += ' ';
      } else if (character.length == 0 || IsControl(character.code_point)) {
        printable += '?';
      } else {
        printable += text.substr(0, length);
      }
    }
    text.remove_prefix(length);
  }
  return printable;
}

}  // namespace ashlar::config
