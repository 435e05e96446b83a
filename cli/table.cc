#include "cli/table.h"

#include <algorithm>
#include <limits>

#include "common/base/check.h"
#include "common/config/utf8.h"

namespace ashlar::cli {
namespace {

std::size_t Width(std::string_view text) { return static_cast<std::size_t>(config::CountCharacters(text)); }

}  // namespace

std::string Style::Paint(std::string_view code, std::string_view text) const {
  if (!color) return std::string(text);
  return std::string("\x1b[").append(code).append("m").append(text).append("\x1b[0m");
}

std::string Printable(std::string_view text) {
  return config::PrintableCharacters(text, 0, std::numeric_limits<int>::max());
}

Table::Table(std::vector<Align> columns, std::vector<std::string> headers)
    : columns_(std::move(columns)), headers_(std::move(headers)) {
  ASHLAR_CHECK(headers_.empty() || headers_.size() == columns_.size(), "one header per column");
}

void Table::Row(std::vector<std::string> cells) {
  ASHLAR_CHECK(cells.size() <= columns_.size(), "more cells than columns");
  for (std::string& cell : cells) cell = Printable(cell);
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::ToString(std::string_view indent) const {
  std::vector<const std::vector<std::string>*> lines;
  if (!headers_.empty()) lines.push_back(&headers_);
  for (const auto& row : rows_) lines.push_back(&row);
  std::vector<std::size_t> widths(columns_.size(), 0);
  for (const auto* line : lines) {
    for (std::size_t i = 0; i < line->size(); ++i) widths[i] = std::max(widths[i], Width((*line)[i]));
  }
  std::string out;
  for (const auto* line : lines) {
    std::string text(indent);
    for (std::size_t i = 0; i < line->size(); ++i) {
      const std::string padding(widths[i] - Width((*line)[i]), ' ');
      if (i > 0) text += "  ";
      text += columns_[i] == Align::kRight ? padding + (*line)[i] : (*line)[i] + padding;
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  }
  return out;
}

}  // namespace ashlar::cli
