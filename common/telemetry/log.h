// Log lines: "subsystem: what happened key=value …", constant text first. spdlog stands behind it and in no header.
//
//   log::Warn("replica_log: append slow node={} waited_ms={}", node, waited_ms);
//
// error: a person must act, the line says on what. warn: we recovered. info: state changes, a few a minute.
// debug: per request. Page bytes never reach a log. Threads: thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <fmt/core.h>

#include "absl/status/status.h"

namespace ashlar::log {

enum class Level { kDebug, kInfo, kWarn, kError };

// Lines go to stderr; under systemd (JOURNAL_STREAM set) without time stamps, with the priority prefix that journald
// reads. `name` stands in each line, e.g. "ashlar-mnode m1".
void Init(std::string_view name, Level threshold);
void SetLevel(Level threshold);
// "debug" | "info" | "warn" | "error".
bool ParseLevel(std::string_view word, Level* level);

void Write(Level level, fmt::string_view format, fmt::format_args arguments);

template <typename... T>
void Debug(fmt::format_string<T...> format, T&&... args) { Write(Level::kDebug, format, fmt::make_format_args(args...)); }
template <typename... T>
void Info(fmt::format_string<T...> format, T&&... args) { Write(Level::kInfo, format, fmt::make_format_args(args...)); }
template <typename... T>
void Warn(fmt::format_string<T...> format, T&&... args) { Write(Level::kWarn, format, fmt::make_format_args(args...)); }
template <typename... T>
void Error(fmt::format_string<T...> format, T&&... args) { Write(Level::kError, format, fmt::make_format_args(args...)); }

// Lets one line through per `period_ns` and counts the rest. One thread at a time.
//   if (limit.Allow(now_ns)) log::Warn("… left_out={}", limit.TakeLeftOut());
class RateLimit {
 public:
  explicit RateLimit(std::uint64_t period_ns = 1'000'000'000) : period_ns_(period_ns) {}
  bool Allow(std::uint64_t now_ns) {
    if (last_ns_ != 0 && now_ns - last_ns_ < period_ns_) return ++left_out_, false;
    last_ns_ = now_ns;
    return true;
  }
  std::uint64_t TakeLeftOut() { return std::exchange(left_out_, 0); }

 private:
  std::uint64_t period_ns_;
  std::uint64_t last_ns_ = 0;
  std::uint64_t left_out_ = 0;
};

}  // namespace ashlar::log

// absl::Status in a log line: its code and words.
template <>
struct fmt::formatter<absl::Status> {
  constexpr auto parse(fmt::format_parse_context& context) { return context.begin(); }
  fmt::format_context::iterator format(const absl::Status& status, fmt::format_context& context) const;
};
