// A JSON value that is built and printed. Not protobuf's printer: that one writes 64-bit integers as strings, and ours are
// numbers ("bytes and ns are integers").
//
// Keys keep their order. Text that is not UTF-8, and control characters, are shown as '?'. Threads: values.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace ashlar::cli {

class Json {
 public:
  static Json Object() { return Json(Members()); }
  static Json Array() { return Json(Items()); }
  Json(std::string_view text) : value_(std::string(text)) {}       // NOLINT: values convert
  Json(const std::string& text) : value_(text) {}                  // NOLINT
  Json(const char* text) : value_(std::string(text)) {}            // NOLINT
  Json(bool value) : value_(value) {}                              // NOLINT
  Json(std::unsigned_integral auto value) : value_(static_cast<std::uint64_t>(value)) {}  // NOLINT
  Json(std::signed_integral auto value) : value_(static_cast<std::int64_t>(value)) {}     // NOLINT

  // On an object, or an array; both return *this.
  Json& Set(std::string_view key, Json value);
  Json& Add(Json value);

  std::string ToString() const;  // indented by two, one line break at the end

 private:
  using Members = std::vector<std::pair<std::string, Json>>;
  using Items = std::vector<Json>;
  explicit Json(Members members) : value_(std::move(members)) {}
  explicit Json(Items items) : value_(std::move(items)) {}
  void AppendTo(std::string& out, int depth) const;

  std::variant<bool, std::int64_t, std::uint64_t, std::string, Members, Items> value_;
};

}  // namespace ashlar::cli
