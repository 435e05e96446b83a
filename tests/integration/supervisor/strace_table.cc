#include "tests/integration/supervisor/strace_table.h"

#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace ashlar::pnode {

std::optional<CountsByName> CountWithStrace(const std::vector<std::string>& words) {
  const char* strace = "/usr/bin/strace";
  if (::access(strace, X_OK) != 0) return std::nullopt;
  char path[] = "/tmp/ashlar-strace-XXXXXX";
  ::close(::mkstemp(path));
  const std::string command = absl::StrCat(strace, " -f -c -o ", path, " ", absl::StrJoin(words, " "));
  if (std::system(command.c_str()) == -1) return std::nullopt;
  // "% time  seconds  usecs/call  calls  [errors]  syscall", dashes above and below.
  CountsByName counts;
  std::ifstream table(path);
  int rules = 0;
  for (std::string line; std::getline(table, line);) {
    if (line.starts_with("------")) ++rules;
    if (rules != 1 || line.starts_with("------")) continue;
    std::istringstream cells(line);
    std::vector<std::string> row;
    for (std::string cell; cells >> cell;) row.push_back(cell);
    if (row.size() < 5) continue;
    counts[row.back()] = {.calls = std::stoull(row[3]), .errors = row.size() > 5 ? std::stoull(row[4]) : 0};
  }
  ::unlink(path);
  return counts;
}

}  // namespace ashlar::pnode
