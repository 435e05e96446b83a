#include "daemons/pnode/paging/proc_maps.h"

#include <charconv>

namespace ashlar::pnode {
namespace {

// Takes a number and the character behind it off the front.
bool Take(std::string_view& text, int base, char behind, std::uint64_t* value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value, base);
  if (error != std::errc() || end == text.data() + text.size() || *end != behind) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return true;
}

}  // namespace

// "7f12a000-7f12b000 rw-p 00000000 00:00 0                          [heap]"
std::optional<MapsLine> ParseMapsLine(std::string_view line) {
  MapsLine parsed;
  std::uint64_t offset = 0, major = 0, minor = 0;
  if (!Take(line, 16, '-', &parsed.range.start) || !Take(line, 16, ' ', &parsed.range.end)) return std::nullopt;
  if (line.size() < 5 || line[4] != ' ' || parsed.range.start >= parsed.range.end) return std::nullopt;
  parsed.readable = line[0] == 'r';
  parsed.writable = line[1] == 'w';
  parsed.shared = line[3] == 's';
  line.remove_prefix(5);
  if (!Take(line, 16, ' ', &offset) || !Take(line, 16, ':', &major) || !Take(line, 16, ' ', &minor)) return std::nullopt;
  auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), parsed.inode, 10);
  if (error != std::errc()) return std::nullopt;
  line.remove_prefix(static_cast<std::size_t>(end - line.data()));
  std::size_t name = line.find_first_not_of(' ');
  parsed.name = name == std::string_view::npos ? std::string_view() : line.substr(name);
  return parsed;
}

bool MapsLine::Anonymous() const {
  if (inode != 0 || shared) return false;
  // Not the main stack, [vvar], [vdso], "//anon"-like pseudo files.
  return name.empty() || name == "[heap]" || name.substr(0, 6) == "[anon:";
}

}  // namespace ashlar::pnode
