#include "common/base/check.h"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace ashlar {

void CheckFailed(const char* file, int line, const char* condition, fmt::string_view format,
                 fmt::format_args arguments) {
  const std::string words = fmt::vformat(format, arguments);
  std::fprintf(stderr, "CHECK failed: %s:%d: %s %s\n", file, line, condition, words.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace ashlar
