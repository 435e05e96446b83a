#include "common/config/fault.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include <fmt/format.h>

namespace ashlar::config {

std::string RenderLine(const Fault& fault) {
  std::string line = fault.place.file;
  if (fault.place.line > 0) absl::StrAppend(&line, ":", fault.place.line, ":", fault.place.column);
  absl::StrAppend(&line, ": ");
  if (!fault.path.empty()) absl::StrAppend(&line, fault.path, ": ");
  absl::StrAppend(&line, fault.what);
  if (!fault.hint.empty()) absl::StrAppend(&line, "; ", fault.hint);
  return line;
}

std::string RenderFaults(const std::vector<Fault>& faults) {
  std::string text;
  for (const Fault& fault : faults) {
    absl::StrAppend(&text, RenderLine(fault), "\n");
    if (fault.place.line == 0) continue;
    const int indent = std::max(0, fault.place.column - fault.place.excerpt_column);
    text += fmt::format("{:>5} | {}\n      | {}^{}\n", fault.place.line, fault.place.source_line,
                        std::string(static_cast<std::size_t>(indent), ' '),
                        std::string(static_cast<std::size_t>(std::max(0, fault.place.width - 1)), '~'));
  }
  if (!faults.empty()) {
    absl::StrAppend(&text, faults.size(), faults.size() == 1 ? " error" : " errors", ", nothing was changed\n");
  }
  return text;
}

}  // namespace ashlar::config
