#include "common/config/schema.h"

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/config/nearest.h"

namespace ashlar::config {
namespace {

// Words of the designs whose feature has not arrived: their writers did not mistype.
bool IsLater(std::string_view key) {
  static const absl::flat_hash_set<std::string> kLater = {
      "metrics",    "device",   "port",        "fresh_percent", "wait_mode",   "cpus", "on_stop",
      "numa_node",  "tls",      "scrub_every", "orphan_keep",   "if_degraded", "fail_fast", "lease",
      "flight_recorder_events"};
  return kLater.contains(std::string(key));
}

absl::string_view Edge(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

Scope Scope::Child(std::string_view key) const {
  return {faults, places, path.empty() ? std::string(key) : absl::StrCat(path, ".", Edge(key))};
}

Scope Scope::Item(std::size_t index) const { return {faults, places, absl::StrCat(path, "[", index, "]")}; }

void Scope::Fail(const Value& value, std::string what, std::string hint) const {
  faults.Add(value.span, path, std::move(what), std::move(hint));
}

void Scope::Remember(const Value& value) const { places.insert_or_assign(path, faults.PlaceOf(value.span)); }

namespace schema_internal {

void ReportWrongKind(const Scope& scope, const Value& value, std::string_view type) {
  if (value.reported) return;
  std::string what;
  switch (value.kind) {
    case Value::Kind::kNull:
      what = "has no value";
      break;
    case Value::Kind::kScalar:
      what = absl::StrCat("got ", Quoted(value.scalar));
      break;
    case Value::Kind::kSequence:
      what = "got a list";
      break;
    case Value::Kind::kMapping:
      what = "got a mapping";
      break;
  }
  scope.Fail(value, std::move(what), absl::StrCat("expected ", Edge(type)));
}

const std::string* ScalarIn(const Scope& scope, const Value& value, std::string_view type) {
  if (value.kind != Value::Kind::kScalar) {
    ReportWrongKind(scope, value, type);
    return nullptr;
  }
  scope.Remember(value);
  return &value.scalar;
}

const std::string* PlainIn(const Scope& scope, const Value& value, std::string_view type) {
  const std::string* text = ScalarIn(scope, value, type);
  if (text != nullptr && value.quoted) {
    scope.Fail(value, "got text in quotes", absl::StrCat("expected ", Edge(type), ", written without quotes"));
    return nullptr;
  }
  return text;
}

void ReportUnknownKeys(const Scope& scope, const Value& mapping, const std::vector<std::string_view>& known) {
  for (const Entry& entry : mapping.entries) {
    if (std::find(known.begin(), known.end(), entry.key) != known.end()) continue;
    std::string hint;
    if (IsLater(entry.key)) {
      hint = "its feature is not in this version (" ASHLAR_VERSION ") yet";
    } else if (const std::string_view nearest = NearestWord(entry.key, known); !nearest.empty()) {
      hint = absl::StrCat("did you mean \"", Edge(nearest), "\"?");
    } else {
      hint = absl::StrCat("known here: ", absl::StrJoin(known, ", ", [](std::string* out, std::string_view name) {
                            out->append(name);
                          }));
    }
    scope.faults.Add(entry.key_span, scope.Child(Excerpt(entry.key)).path, "unknown key", std::move(hint));
  }
}

void ReportMissing(const Scope& scope, const Value& mapping, std::string_view key, std::string_view type) {
  scope.Fail(mapping, absl::StrCat("the key \"", Edge(key), "\" is missing"), absl::StrCat("expected ", Edge(type)));
}

std::string WithBounds(std::string_view type, const std::string& min, const std::string& max,
                       const std::string& multiple) {
  std::string text(type);
  if (!min.empty() && !max.empty()) absl::StrAppend(&text, " from ", min, " to ", max);
  if (!min.empty() && max.empty()) absl::StrAppend(&text, " of at least ", min);
  if (min.empty() && !max.empty()) absl::StrAppend(&text, " of at most ", max);
  if (!multiple.empty()) absl::StrAppend(&text, ", a multiple of ", multiple);
  return text;
}

void ReportBounds(const Scope& scope, const Value& value, const std::string& got, const std::string& bounds,
                  std::string_view hint) {
  scope.Fail(value, absl::StrCat("must be ", bounds, ", got ", Excerpt(got)), std::string(hint));
}

}  // namespace schema_internal

namespace {
constexpr std::uint64_t kNoMax = std::numeric_limits<std::uint64_t>::max();
}

std::string DescribeSizeBounds(const IntegerBounds& bounds) {
  return schema_internal::WithBounds("a size", SizeLiteral(bounds.min),
                                     bounds.max == kNoMax ? "" : SizeLiteral(bounds.max),
                                     bounds.multiple == 0 ? "" : SizeLiteral(bounds.multiple));
}

std::string DescribeIntegerBounds(const IntegerBounds& bounds) {
  if (bounds.min == bounds.max) return absl::StrCat(bounds.min);
  return schema_internal::WithBounds("a whole number", absl::StrCat(bounds.min),
                                     bounds.max == kNoMax ? "" : absl::StrCat(bounds.max), "");
}

std::string DescribeDurationBounds(const DurationBounds& bounds) {
  return schema_internal::WithBounds("a duration", DurationLiteral(bounds.min), DurationLiteral(bounds.max), "");
}

std::optional<std::size_t> ReadWord(const Scope& scope, const Value& value, const std::vector<std::string_view>& known,
                                    const std::vector<std::pair<std::string_view, std::string_view>>& later) {
  const std::string expected =
      absl::StrJoin(known, " | ", [](std::string* out, std::string_view name) { out->append(name); });
  const std::string* text = schema_internal::ScalarIn(scope, value, expected);
  if (text == nullptr) return std::nullopt;
  const auto match = std::find(known.begin(), known.end(), *text);
  if (match != known.end()) return static_cast<std::size_t>(match - known.begin());

  for (const auto& [word, hint] : later) {
    if (word != *text) continue;
    scope.Fail(value, absl::StrCat(Quoted(*text), " is not known to this version (" ASHLAR_VERSION ") yet"), std::string(hint));
    return std::nullopt;
  }
  const std::string_view nearest = NearestWord(*text, known);
  scope.Fail(value, absl::StrCat("expected ", expected, ", got ", Quoted(*text)),
             nearest.empty() ? "" : absl::StrCat("did you mean \"", Edge(nearest), "\"?"));
  return std::nullopt;
}

}  // namespace ashlar::config
