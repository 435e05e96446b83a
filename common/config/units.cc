#include "common/config/units.h"

#include <array>
#include <cmath>
#include <limits>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/config/fault_list.h"
#include <fmt/format.h>

namespace ashlar::config {
namespace {

struct Unit {
  std::string_view name;
  std::uint64_t value;
};
constexpr std::array<Unit, 4> kSizeUnits{{{"KiB", kKiB}, {"MiB", kMiB}, {"GiB", kGiB}, {"TiB", kTiB}}};
constexpr std::array<Unit, 5> kDurationUnits{
    {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};  // in milliseconds

absl::string_view Edge(std::string_view text) { return {text.data(), text.size()}; }

template <typename... T>
absl::Status Refused(std::string_view text, const T&... why) {
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " ", why...));
}

// The digits in front of the unit, and the unit. Refuses signs, points, leading zeros and overflow.
struct Quantity {
  std::uint64_t count = 0;
  std::string_view unit;
};
absl::StatusOr<Quantity> Split(std::string_view text) {
  std::size_t digits = 0;
  Quantity quantity;
  while (digits < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[digits]))) {
    const auto digit = static_cast<std::uint64_t>(text[digits] - '0');
    if (__builtin_mul_overflow(quantity.count, std::uint64_t{10}, &quantity.count) ||
        __builtin_add_overflow(quantity.count, digit, &quantity.count)) {
      return Refused(text, "is too large");
    }
    ++digits;
  }
  if (digits == 0) {
    if (!text.empty() && (text[0] == '-' || text[0] == '+')) return Refused(text, "has a sign; write it without");
    return Refused(text, "does not start with a number");
  }
  if (digits > 1 && text[0] == '0') {
    return Refused(text, "has a leading zero, which some programs read as octal; write ", quantity.count,
                   Edge(Excerpt(text.substr(digits))));
  }
  quantity.unit = text.substr(digits);
  if (!quantity.unit.empty() && quantity.unit[0] == '.') {
    return Refused(text, "has a decimal point; write a whole number of a smaller unit");
  }
  return quantity;
}

template <std::size_t kCount>
std::optional<std::uint64_t> Find(const std::array<Unit, kCount>& units, std::string_view name) {
  for (const Unit& unit : units) {
    if (unit.name == name) return unit.value;
  }
  return std::nullopt;
}

// "200GB": 1000s or 1024s? "200g": did they mean GiB? Says what to write instead.
absl::Status WrongSizeUnit(std::string_view text, const Quantity& quantity) {
  if (quantity.unit.empty()) {
    return Refused(text, "has no unit; write ", quantity.count, "MiB (units: KiB MiB GiB TiB)");
  }
  const std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(Edge(quantity.unit)));
  int exponent = 0;
  double decimal = 1;
  for (const Unit& unit : kSizeUnits) {
    exponent += 3;
    decimal *= 1000;
    const std::string letter(1, static_cast<char>(absl::ascii_tolower(static_cast<unsigned char>(unit.name[0]))));
    if (lower == letter + "ib") return Refused(text, "has its unit written wrong; write ", quantity.count, Edge(unit.name));
    if (lower != letter && lower != letter + "b") continue;
    const auto count = static_cast<double>(quantity.count);
    const double ratio = static_cast<double>(unit.value) / decimal;
    return Refused(text, "is ambiguous; write ",
                   fmt::format("{0}{1} ({2:.4g}e{3} bytes) or {4}{1} (about {5:.4g}e{3} bytes)", quantity.count, unit.name,
                               count * ratio, exponent, std::llround(count / ratio), count));
  }
  return Refused(text, "has an unknown unit; the units are KiB MiB GiB TiB, without a space before them");
}

template <typename Integer, std::size_t kCount>
std::string Literal(Integer amount, const std::array<Unit, kCount>& units) {
  std::size_t best = 0;
  for (std::size_t i = 1; i < kCount; ++i) {
    if (amount != 0 && amount % units[i].value == 0) best = i;
  }
  return fmt::format("{}{}", amount / units[best].value, units[best].name);
}

// 64 → "64", 5.13 → "5.1", 412.4 → "412".
std::string ThreeDigits(double value) {
  std::string text = fmt::format("{:.{}f}", value, value < 99.95 ? 1 : 0);
  if (text.ends_with(".0")) text.resize(text.size() - 2);
  return text;
}

}  // namespace

absl::StatusOr<std::uint64_t> ParseInteger(std::string_view text) {
  const absl::StatusOr<Quantity> quantity = Split(text);
  if (!quantity.ok()) return quantity.status();
  if (!quantity->unit.empty()) return Refused(text, "is not a whole decimal number");
  return quantity->count;
}

absl::StatusOr<std::uint64_t> ParseSize(std::string_view text) {
  const absl::StatusOr<Quantity> quantity = Split(text);
  if (!quantity.ok()) return quantity.status();
  const std::optional<std::uint64_t> unit = Find(kSizeUnits, quantity->unit);
  if (!unit) return WrongSizeUnit(text, *quantity);
  std::uint64_t bytes = 0;
  if (__builtin_mul_overflow(quantity->count, *unit, &bytes)) return Refused(text, "is too large");
  return bytes;
}

absl::StatusOr<absl::Duration> ParseDuration(std::string_view text) {
  const absl::StatusOr<Quantity> quantity = Split(text);
  if (!quantity.ok()) return quantity.status();
  const std::optional<std::uint64_t> unit = Find(kDurationUnits, quantity->unit);
  if (!unit) {
    if (quantity->unit.empty()) return Refused(text, "has no unit; write ", quantity->count, "ms or ", quantity->count, "s");
    return Refused(text, "has an unknown unit; the units are ms s m h d, without a space before them");
  }
  // Whoever takes one may count it in int64 nanoseconds.
  constexpr std::uint64_t kMaxMilliseconds = std::numeric_limits<std::int64_t>::max() / 1'000'000;
  std::uint64_t milliseconds = 0;
  if (__builtin_mul_overflow(quantity->count, *unit, &milliseconds) || milliseconds > kMaxMilliseconds) {
    return Refused(text, "is too long");
  }
  return absl::Milliseconds(static_cast<std::int64_t>(milliseconds));
}

std::string SizeLiteral(std::uint64_t bytes) { return Literal(bytes - bytes % kKiB, kSizeUnits); }

std::string DurationLiteral(absl::Duration duration) {
  return Literal(static_cast<std::uint64_t>(absl::ToInt64Milliseconds(duration)), kDurationUnits);
}

std::string HumanSize(std::uint64_t bytes) {
  if (bytes < kKiB) return fmt::format("{} B", bytes);
  std::size_t i = 0;
  // 1023.96 KiB would print as "1024 KiB": go on to the next unit where rounding gets there.
  while (i + 1 < kSizeUnits.size() && static_cast<double>(bytes) / static_cast<double>(kSizeUnits[i].value) >= 1023.5) ++i;
  return fmt::format("{} {}", ThreeDigits(static_cast<double>(bytes) / static_cast<double>(kSizeUnits[i].value)),
                     kSizeUnits[i].name);
}

std::string HumanDuration(absl::Duration duration) {
  if (duration == absl::InfiniteDuration()) return "for ever";
  if (duration < absl::ZeroDuration()) return "-" + HumanDuration(-duration);
  const double ns = absl::ToDoubleNanoseconds(duration);
  if (ns < 999.5) return ThreeDigits(ns) + " ns";
  if (ns < 999.5e3) return ThreeDigits(ns / 1e3) + " us";
  if (ns < 999.5e6) return ThreeDigits(ns / 1e6) + " ms";
  if (ns < 59.95e9) return ThreeDigits(ns / 1e9) + " s";
  const auto seconds = static_cast<std::uint64_t>(std::llround(ns / 1e9));
  if (seconds < 3600) return fmt::format("{}m {}s", seconds / 60, seconds % 60);
  if (seconds < 86'400) return fmt::format("{}h {}m", seconds / 3600, seconds % 3600 / 60);
  return fmt::format("{}d {}h", seconds / 86'400, seconds % 86'400 / 3600);
}

}  // namespace ashlar::config
