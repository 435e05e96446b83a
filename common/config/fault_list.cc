#include "common/config/fault_list.h"

#include <algorithm>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/config/utf8.h"

namespace ashlar::config {
namespace {

constexpr std::size_t kExcerptBytes = 48;

}  // namespace

FaultList::FaultList(std::string_view text, std::string_view filename) : text_(text), filename_(filename) {
  line_starts_.push_back(0);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') line_starts_.push_back(i + 1);
  }
}

std::string_view FaultList::Line(int line) const {
  if (line < 0 || line >= line_count()) return {};
  const auto index = static_cast<std::size_t>(line);
  const std::size_t start = line_starts_[index];
  std::size_t end = index + 1 < line_starts_.size() ? line_starts_[index + 1] - 1 : text_.size();
  if (end > start && text_[end - 1] == '\r') --end;
  return text_.substr(start, end - start);
}

Place FaultList::PlaceOf(Span span) const {
  const int line = std::clamp(span.line, 0, line_count() - 1);
  const std::string_view source = Line(line);
  const auto column = static_cast<std::size_t>(std::clamp(span.column, 0, static_cast<int>(source.size())));
  const auto width = std::min<std::size_t>(static_cast<std::size_t>(std::max(span.width, 1)), source.size() - column);

  Place place{.file = filename_, .line = line + 1};
  const int characters_before = CountCharacters(source.substr(0, column));
  place.column = characters_before + 1;
  place.width = std::max(1, CountCharacters(source.substr(column, width)));
  // A long line is cut so that the caret stays near the middle.
  const int skipped = std::max(0, characters_before - kExcerptColumns / 2);
  place.excerpt_column = skipped + 1;
  place.source_line = PrintableCharacters(source, skipped, kExcerptColumns);
  place.width = std::min(place.width, kExcerptColumns - (characters_before - skipped));
  return place;
}

void FaultList::Add(Span span, std::string path, std::string what, std::string hint) {
  Add(PlaceOf(span), std::move(path), std::move(what), std::move(hint));
}

void FaultList::Add(Place place, std::string path, std::string what, std::string hint) {
  if (sealed_.contains(place.line)) return;
  if (faults_.size() >= kMaxFaults) {
    ++left_out_;
    return;
  }
  faults_.push_back({std::move(place), std::move(path), std::move(what), std::move(hint)});
}

void FaultList::AddForFile(std::string what, std::string hint) {
  Add(Place{.file = filename_}, "", std::move(what), std::move(hint));
}

std::vector<Fault> FaultList::Take() {
  std::stable_sort(faults_.begin(), faults_.end(), [](const Fault& a, const Fault& b) {
    return std::pair(a.place.line, a.place.column) < std::pair(b.place.line, b.place.column);
  });
  if (left_out_ > 0) {
    faults_.push_back({Place{.file = filename_}, "", absl::StrCat(left_out_, " more faults are not shown"), ""});
  }
  return std::exchange(faults_, {});
}

std::string Excerpt(std::string_view text) {
  const bool cut = text.size() > kExcerptBytes;
  std::string_view head = text.substr(0, kExcerptBytes);
  while (cut && !head.empty() && !IsValidUtf8(head)) head.remove_suffix(1);
  return absl::StrCat(absl::Utf8SafeCEscape(absl::string_view(head.data(), head.size())), cut ? "…" : "");
}

std::string Quoted(std::string_view text) { return absl::StrCat("\"", Excerpt(text), "\""); }

}  // namespace ashlar::config
