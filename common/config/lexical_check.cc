#include "common/config/lexical_check.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/config/utf8.h"
#include <fmt/format.h>

namespace ashlar::config {
namespace {

// Bytes first: whatever is no text is refused before anything looks at its structure.
bool CheckCharacters(std::string_view line, int line_number, FaultList& faults) {
  for (std::size_t at = 0; at < line.size();) {
    const Character character = FirstCharacter(line.substr(at));
    const Span span{line_number, static_cast<int>(at), 1};
    if (character.length == 0) {
      faults.Add(span, "", fmt::format("byte 0x{:02x} is not UTF-8", static_cast<unsigned char>(line[at])),
                 "is this a text file?");
      return false;
    }
    if (character.code_point != '\t' && IsControl(character.code_point)) {
      faults.Add(span, "", fmt::format("control character U+{:04X}", static_cast<unsigned>(character.code_point)),
                 "remove it");
      return false;
    }
    at += character.length;
  }
  return true;
}

// Walks one document line by line and knows where a value may start; that is where anchors, tags and the like stand.
class Walker {
 public:
  Walker(std::string_view text, FaultList& faults) : faults_(faults), cleaned_(text), text_(text) {}

  bool Walk() {
    for (line_number_ = 0; line_number_ < faults_.line_count(); ++line_number_) {
      line_ = faults_.Line(line_number_);
      if (line_.size() > kMaxLineBytes) {
        return Stop(0, absl::StrCat("line is longer than ", kMaxLineBytes, " bytes"), "break it up");
      }
      if (!CheckCharacters(line_, line_number_, faults_) || !WalkLine()) return false;
    }
    for (const Opened& open : opened_) {
      faults_.Add(open.span, "", fmt::format("\"{}\" is never closed", open.bracket),
                  fmt::format("add the \"{}\"", Closing(open.bracket)));
    }
    return opened_.empty();
  }

  std::string TakeCleaned() { return std::move(cleaned_); }

 private:
  struct Opened {
    char bracket;
    Span span;
  };

  static char Closing(char bracket) { return bracket == '[' ? ']' : '}'; }
  char At(std::size_t i) const { return i < line_.size() ? line_[i] : '\0'; }
  bool IsBlankAt(std::size_t i) const { return i >= line_.size() || line_[i] == ' ' || line_[i] == '\t'; }
  bool IsFlowIndicator(char c) const { return !opened_.empty() && (c == ',' || c == '[' || c == ']' || c == '{' || c == '}'); }
  Span SpanAt(std::size_t column, std::size_t width = 1) const {
    return {line_number_, static_cast<int>(column), static_cast<int>(width)};
  }
  bool Stop(std::size_t column, std::string what, std::string hint) {
    faults_.Add(SpanAt(column), "", std::move(what), std::move(hint));
    return false;
  }

  bool WalkLine() {
    const std::size_t first = line_.find_first_not_of(' ');
    if (first == std::string_view::npos) return true;
    if (line_[first] == '\t') return Stop(first, "tab in the indentation", "indent by spaces");
    if (line_[0] == '%') return Stop(0, "YAML directives are not used here", "remove the line");
    if (line_.starts_with("...") && IsBlankAt(3)) return Stop(0, "a document end is not used here", "remove the line");
    if (line_.starts_with("---") && IsBlankAt(3)) return WalkDocumentStart();

    value_may_start_ = true;
    for (column_ = first; column_ < line_.size();) {
      const char c = line_[column_];
      if (c == '#' && (column_ == 0 || IsBlankAt(column_ - 1))) return true;
      if (c != ' ' && c != '\t') has_content_ = true;
      if (!(value_may_start_ ? AtValueStart(c) : InsideValue(c))) return false;
    }
    return true;
  }

  bool WalkDocumentStart() {
    if (has_content_ || document_started_) {
      return Stop(0, "a second document starts here", "one file holds one topology; remove it");
    }
    document_started_ = true;
    const std::size_t rest = line_.find_first_not_of(" \t", 3);
    if (rest == std::string_view::npos || line_[rest] == '#') return true;
    return Stop(rest, "text after \"---\"", "start it on the next line");
  }

  // Steps over one thing that may stand before or at the start of a value.
  bool AtValueStart(char c) {
    switch (c) {
      case ' ':
      case '\t':
        ++column_;
        return true;
      case '-':
        if (opened_.empty() && IsBlankAt(column_ + 1)) {
          ++column_;
          return true;
        }
        return StartPlain();
      case '?':
        if (IsBlankAt(column_ + 1) || IsFlowIndicator(At(column_ + 1))) {
          return Stop(column_, "\"?\" keys are not used here", "write \"key: value\"");
        }
        return StartPlain();
      case '&':
        return Blank("anchors are refused", "write the value out at each place", ' ');
      case '*':
        value_may_start_ = false;
        return Blank("aliases are refused", "write the value out", '~');
      case '!':
        return Blank("tags are refused", "the schema knows each key's type; remove it", ' ');
      case '|':
      case '>':
        return Stop(column_, "block text is not used here", "write the value on the key's line");
      case '@':
      case '`':
      case '%':
        return Stop(column_, fmt::format("a value cannot start with \"{}\"", c), "put it in double quotes");
      case '"':
      case '\'':
        return SkipQuoted(c);
      default:
        return IsStructure(c) ? Structure(c) : StartPlain();
    }
  }

  bool InsideValue(char c) {
    if (IsFlowIndicator(c)) return Structure(c);
    ++column_;
    if (c == ':' && (IsBlankAt(column_) || IsFlowIndicator(At(column_)))) value_may_start_ = true;
    if (c == ':' && after_quoted_ && !opened_.empty()) value_may_start_ = true;  // {"a":1}
    after_quoted_ = false;
    return true;
  }

  bool StartPlain() {
    value_may_start_ = false;
    after_quoted_ = false;
    return InsideValue(line_[column_]);
  }

  bool IsStructure(char c) const { return c == '[' || c == '{' || c == ']' || c == '}' || (c == ',' && !opened_.empty()); }

  bool Structure(char c) {
    const Span span = SpanAt(column_);
    ++column_;
    after_quoted_ = false;
    value_may_start_ = c == '[' || c == '{' || c == ',';
    if (c == ',') return true;
    if (c == '[' || c == '{') {
      if (opened_.size() >= kMaxDepth) return Stop(column_ - 1, absl::StrCat("nested deeper than ", kMaxDepth), "");
      opened_.push_back({c, span});
      return true;
    }
    if (opened_.empty() || Closing(opened_.back().bracket) != c) {
      return Stop(column_ - 1, fmt::format("\"{}\" closes nothing that is open", c), "");
    }
    opened_.pop_back();
    after_quoted_ = true;  // {[a]:1}: yaml-cpp takes such a key's ":" without a space, too
    return true;
  }

  bool SkipQuoted(char quote) {
    const std::size_t start = column_;
    for (std::size_t i = start + 1; i < line_.size(); ++i) {
      if (quote == '"' && line_[i] == '\\') {
        ++i;
      } else if (line_[i] == quote) {
        if (quote == '\'' && At(i + 1) == '\'') {
          ++i;
          continue;
        }
        column_ = i + 1;
        value_may_start_ = false;
        after_quoted_ = true;
        return true;
      }
    }
    return Stop(start, fmt::format("this {} is never closed on its line", quote), "close it");
  }

  // Reports the word at the current column and takes it out of what yaml-cpp sees: an alias becomes a null.
  bool Blank(std::string what, std::string hint, char left_over) {
    std::size_t end = column_;
    while (end < line_.size() && !IsBlankAt(end) && !IsFlowIndicator(line_[end])) ++end;
    faults_.Add(SpanAt(column_, end - column_), "", std::move(what), std::move(hint));
    const auto offset = static_cast<std::size_t>(line_.data() - text_.data());
    for (std::size_t i = column_; i < end; ++i) cleaned_[offset + i] = i == column_ ? left_over : ' ';
    blanked_lines_.push_back(line_number_);
    column_ = end;
    return true;
  }

 public:
  const std::vector<int>& blanked_lines() const { return blanked_lines_; }

 private:
  FaultList& faults_;
  std::string cleaned_;
  std::string_view text_;
  std::string_view line_;
  int line_number_ = 0;
  std::size_t column_ = 0;        // in line_, bytes
  bool value_may_start_ = true;   // only blanks and indicators since the last value ended
  bool after_quoted_ = false;     // the character before is the end of a quoted scalar or a bracket
  bool has_content_ = false;      // anything but comments so far
  bool document_started_ = false; // "---" was seen
  std::vector<Opened> opened_;    // brackets, outermost first
  std::vector<int> blanked_lines_;
};

}  // namespace

LexicalResult CheckLexically(std::string_view text, FaultList& faults) {
  Walker walker(text, faults);
  LexicalResult result;
  result.readable = walker.Walk();
  // Only now, so that two anchors on a line are both told: what else is odd on these lines may come from the blanks.
  for (int line : walker.blanked_lines()) faults.Seal(line);
  result.cleaned = walker.TakeCleaned();
  return result;
}

}  // namespace ashlar::config
