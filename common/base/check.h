// ASHLAR_CHECK: a bug of ours, on in every build. It prints the values and aborts; it is never for what a peer, a user
// or a disk can cause: those are absl::Status.
#pragma once

#include <string_view>

#include <fmt/core.h>

namespace ashlar {

[[noreturn]] void CheckFailed(const char* file, int line, const char* condition, fmt::string_view format,
                              fmt::format_args arguments);

namespace check_internal {
template <typename... T>
[[noreturn]] void Fail(const char* file, int line, const char* condition, fmt::format_string<T...> format, T&&... args) {
  CheckFailed(file, line, condition, format, fmt::make_format_args(args...));
}
[[noreturn]] inline void Fail(const char* file, int line, const char* condition) {
  CheckFailed(file, line, condition, "", {});
}
}  // namespace check_internal

}  // namespace ashlar

#define ASHLAR_CHECK(condition, ...)                                                                           \
  do {                                                                                                         \
    if (__builtin_expect(!(condition), 0))                                                                     \
      ::ashlar::check_internal::Fail(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__);               \
  } while (false)
