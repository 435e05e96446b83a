// Sizes and durations as people write and read them. The config and the command line parse with the same code.
//
// Grammar: digits without sign, leading zero, point, exponent or space, then a unit: KiB MiB GiB TiB, or ms s m h d.
// Errors are InvalidArgument whose text starts with the quoted input and names what to write instead.
// Threads: pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace ashlar::config {

constexpr std::uint64_t kKiB = 1024;
constexpr std::uint64_t kMiB = 1024 * kKiB;
constexpr std::uint64_t kGiB = 1024 * kMiB;
constexpr std::uint64_t kTiB = 1024 * kGiB;

absl::StatusOr<std::uint64_t> ParseInteger(std::string_view text);
absl::StatusOr<std::uint64_t> ParseSize(std::string_view text);        // bytes
absl::StatusOr<absl::Duration> ParseDuration(std::string_view text);   // at most about 290 years

// What ParseSize and ParseDuration read back to the same value: "1536MiB", "90s". A size must be whole KiB and a
// duration whole milliseconds; the rest is cut off.
std::string SizeLiteral(std::uint64_t bytes);
std::string DurationLiteral(absl::Duration duration);

// For people, three digits or so: "64 MiB", "5.1 GiB", "512 B"; "850 ns", "9.8 us", "1.5 s", "5m 30s", "3d 4h".
std::string HumanSize(std::uint64_t bytes);
std::string HumanDuration(absl::Duration duration);

}  // namespace ashlar::config
