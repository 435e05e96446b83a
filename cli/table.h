// Aligned columns for people. Cells may come from anywhere: what is not printable is shown as '?'.
//
// Threads: one thread at a time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ashlar::cli {

// Colour never carries meaning alone: the words stay.
struct Style {
  bool color = false;
  std::string Good(std::string_view text) const { return Paint("32", text); }
  std::string Bad(std::string_view text) const { return Paint("31", text); }
  std::string Warn(std::string_view text) const { return Paint("33", text); }
  std::string Strong(std::string_view text) const { return Paint("1", text); }

 private:
  std::string Paint(std::string_view code, std::string_view text) const;
};

// Printable, on one line.
std::string Printable(std::string_view text);

class Table {
 public:
  enum class Align { kLeft, kRight };

  // A column without a header takes an empty one; a table without any prints no header line.
  explicit Table(std::vector<Align> columns, std::vector<std::string> headers = {});
  void Row(std::vector<std::string> cells);  // missing cells are empty
  bool empty() const { return rows_.empty(); }

  // Each line starts with `indent`; columns stand two spaces apart; no spaces at line ends.
  std::string ToString(std::string_view indent = "") const;

 private:
  std::vector<Align> columns_;
  std::vector<std::string> headers_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace ashlar::cli
