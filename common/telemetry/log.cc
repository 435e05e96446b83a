#include "common/telemetry/log.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace ashlar::log {
namespace {

spdlog::level::level_enum ToSpdlog(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// Made before the first line and never destroyed: a line may come from any thread at any time.
spdlog::logger& Logger() {
  static spdlog::logger* const logger = [] {
    auto* made = new spdlog::logger("ashlar", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    made->set_level(spdlog::level::info);
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *logger;
}

}  // namespace

void Init(std::string_view name, Level threshold) {
  const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
  Logger().set_pattern(journal ? fmt::format("%l: {}: %v", name) : fmt::format("%H:%M:%S.%e %L {}: %v", name));
  SetLevel(threshold);
}

void SetLevel(Level threshold) { Logger().set_level(ToSpdlog(threshold)); }

bool ParseLevel(std::string_view word, Level* level) {
  if (word == "debug") return *level = Level::kDebug, true;
  if (word == "info") return *level = Level::kInfo, true;
  if (word == "warn") return *level = Level::kWarn, true;
  if (word == "error") return *level = Level::kError, true;
  return false;
}

void Write(Level level, fmt::string_view format, fmt::format_args arguments) {
  const auto spdlog_level = ToSpdlog(level);
  if (!Logger().should_log(spdlog_level)) return;
  Logger().log(spdlog_level, spdlog::string_view_t(fmt::vformat(format, arguments)));
}

}  // namespace ashlar::log

fmt::format_context::iterator fmt::formatter<absl::Status>::format(const absl::Status& status,
                                                                   fmt::format_context& context) const {
  // Payloads are for programs: bytes that no reader of a log wants.
  const std::string text = status.ToString(absl::StatusToStringMode::kWithNoExtraData);
  return std::copy(text.begin(), text.end(), context.out());
}
