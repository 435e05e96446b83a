#include "cli/json.h"

#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/config/utf8.h"

namespace ashlar::cli {
namespace {

void AppendQuoted(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : config::PrintableCharacters(text, 0, std::numeric_limits<int>::max())) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  out += '"';
}

void NewLine(std::string& out, int depth) {
  out += '\n';
  out.append(2 * static_cast<std::size_t>(depth), ' ');
}

}  // namespace

Json& Json::Set(std::string_view key, Json value) {
  Members* members = std::get_if<Members>(&value_);
  ASHLAR_CHECK(members != nullptr, "Set on what is no object key={}", key);
  members->emplace_back(std::string(key), std::move(value));
  return *this;
}

Json& Json::Add(Json value) {
  Items* items = std::get_if<Items>(&value_);
  ASHLAR_CHECK(items != nullptr, "Add on what is no array");
  items->push_back(std::move(value));
  return *this;
}

std::string Json::ToString() const {
  std::string out;
  AppendTo(out, 0);
  out += '\n';
  return out;
}

void Json::AppendTo(std::string& out, int depth) const {
  if (const bool* flag = std::get_if<bool>(&value_)) {
    out += *flag ? "true" : "false";
  } else if (const std::int64_t* integer = std::get_if<std::int64_t>(&value_)) {
    absl::StrAppend(&out, *integer);
  } else if (const std::uint64_t* natural = std::get_if<std::uint64_t>(&value_)) {
    absl::StrAppend(&out, *natural);
  } else if (const std::string* text = std::get_if<std::string>(&value_)) {
    AppendQuoted(out, *text);
  } else if (const Members* members = std::get_if<Members>(&value_)) {
    out += '{';
    for (std::size_t i = 0; i < members->size(); ++i) {
      if (i > 0) out += ',';
      NewLine(out, depth + 1);
      AppendQuoted(out, (*members)[i].first);
      out += ": ";
      (*members)[i].second.AppendTo(out, depth + 1);
    }
    if (!members->empty()) NewLine(out, depth);
    out += '}';
  } else if (const Items* items = std::get_if<Items>(&value_)) {
    out += '[';
    for (std::size_t i = 0; i < items->size(); ++i) {
      if (i > 0) out += ',';
      NewLine(out, depth + 1);
      (*items)[i].AppendTo(out, depth + 1);
    }
    if (!items->empty()) NewLine(out, depth);
    out += ']';
  }
}

}  // namespace ashlar::cli
