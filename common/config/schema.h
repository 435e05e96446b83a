// One table per struct says which keys it has; parsing, bounds, defaults and the documentation all come from it.
// Internal to common/config.
//
//   const std::vector<Key<Timeouts>> kKeys = {
//       {"call", kOptional, DurationField(&Timeouts::call, {.min = …, .max = …}), "one FIT call"}, …};
//   ReadMapping(scope, value, kKeys, &timeouts);
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/config/document.h"
#include "common/config/fault_list.h"
#include "common/config/units.h"

namespace ashlar::config {

enum class Presence { kRequired, kOptional };  // optional: the struct's initializer is the default
enum class Applies { kYes, kNo, kUnknown };    // unknown: what decides it has a fault itself

// What the documentation says of one key, with its whole path: "nodes[].log.capacity_bytes".
struct KeyDocument {
  std::string path;
  std::string type;          // "size, at least 8MiB, a multiple of 4MiB"
  std::string default_text;  // as it would be written; empty: required, or absent by default
  std::string owner;         // "pnode" if only a pnode has it
  std::string meaning;
};

// Where in the document reading is, and where its faults go.
struct Scope {
  FaultList& faults;
  std::map<std::string, Place, std::less<>>& places;
  std::string path;

  Scope Child(std::string_view key) const;
  Scope Item(std::size_t index) const;
  void Fail(const Value& value, std::string what, std::string hint = "") const;
  void Remember(const Value& value) const;  // in places
};

// How one member of S is read, shown and described.
template <typename S>
struct Field {
  std::string type;
  std::function<void(const Scope&, const Value&, S&)> read;
  std::function<std::string(const S&)> show;  // as written in YAML; empty: nothing to show
  std::function<void(const std::string& path, std::vector<KeyDocument>&)> describe_children;
};

template <typename S>
struct Key {
  std::string_view name;
  Presence presence;
  Field<S> field;
  std::string_view meaning;
  std::string_view owner;  // who alone has it, for people
  Applies (*applies)(const S&) = nullptr;
};

// The parts that need no template: null and container checks, the words of each fault.
namespace schema_internal {
// "expected <type>, got a list".
void ReportWrongKind(const Scope& scope, const Value& value, std::string_view type);
// The scalar in `value`; nullptr after a fault "expected <type>, got a list".
const std::string* ScalarIn(const Scope& scope, const Value& value, std::string_view type);
// The same for what must not stand in quotes: numbers and booleans.
const std::string* PlainIn(const Scope& scope, const Value& value, std::string_view type);
void ReportUnknownKeys(const Scope& scope, const Value& mapping, const std::vector<std::string_view>& known);
void ReportMissing(const Scope& scope, const Value& mapping, std::string_view key, std::string_view type);
std::string WithBounds(std::string_view type, const std::string& min, const std::string& max, const std::string& multiple);
void ReportBounds(const Scope& scope, const Value& value, const std::string& got, const std::string& bounds,
                  std::string_view hint = "");
}  // namespace schema_internal

// Inclusive. multiple 0: any.
struct IntegerBounds {
  std::uint64_t min = 0;
  std::uint64_t max = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t multiple = 0;
  std::string_view beyond;  // hint for a value above max

  bool Allow(std::uint64_t value) const {
    return value >= min && value <= max && (multiple == 0 || value % multiple == 0);
  }
};
struct DurationBounds {
  absl::Duration min;
  absl::Duration max;
};

std::string DescribeSizeBounds(const IntegerBounds& bounds);
std::string DescribeIntegerBounds(const IntegerBounds& bounds);
std::string DescribeDurationBounds(const DurationBounds& bounds);

template <typename S>
Field<S> IntegerField(std::uint64_t S::*member, IntegerBounds bounds) {
  const std::string type = DescribeIntegerBounds(bounds);
  return {.type = type,
          .read =
              [=](const Scope& scope, const Value& value, S& out) {
                const std::string* text = schema_internal::PlainIn(scope, value, type);
                if (text == nullptr) return;
                const absl::StatusOr<std::uint64_t> parsed = ParseInteger(*text);
                if (!parsed.ok()) return scope.Fail(value, std::string(parsed.status().message()));
                if (!bounds.Allow(*parsed)) {
                  return schema_internal::ReportBounds(scope, value, *text, type, *parsed > bounds.max ? bounds.beyond : "");
                }
                out.*member = *parsed;
              },
          .show = [=](const S& s) { return std::to_string(s.*member); }};
}

template <typename S>
Field<S> SizeField(std::uint64_t S::*member, IntegerBounds bounds) {
  const std::string type = DescribeSizeBounds(bounds);
  return {.type = type,
          .read =
              [=](const Scope& scope, const Value& value, S& out) {
                const std::string* text = schema_internal::ScalarIn(scope, value, type);
                if (text == nullptr) return;
                const absl::StatusOr<std::uint64_t> parsed = ParseSize(*text);
                if (!parsed.ok()) return scope.Fail(value, std::string(parsed.status().message()));
                if (!bounds.Allow(*parsed)) return schema_internal::ReportBounds(scope, value, *text, type);
                out.*member = *parsed;
              },
          .show = [=](const S& s) { return s.*member == 0 ? std::string() : SizeLiteral(s.*member); }};
}

template <typename S>
Field<S> DurationField(absl::Duration S::*member, DurationBounds bounds) {
  const std::string type = DescribeDurationBounds(bounds);
  return {.type = type,
          .read =
              [=](const Scope& scope, const Value& value, S& out) {
                const std::string* text = schema_internal::ScalarIn(scope, value, type);
                if (text == nullptr) return;
                const absl::StatusOr<absl::Duration> parsed = ParseDuration(*text);
                if (!parsed.ok()) return scope.Fail(value, std::string(parsed.status().message()));
                if (*parsed < bounds.min || *parsed > bounds.max) {
                  return schema_internal::ReportBounds(scope, value, *text, type);
                }
                out.*member = *parsed;
              },
          .show = [=](const S& s) { return DurationLiteral(s.*member); }};
}

template <typename S>
Field<S> BoolField(bool S::*member) {
  return {.type = "true or false",
          .read =
              [=](const Scope& scope, const Value& value, S& out) {
                const std::string* text = schema_internal::PlainIn(scope, value, "true or false");
                if (text == nullptr) return;
                if (*text != "true" && *text != "false") {
                  return scope.Fail(value, "expected true or false, got " + Quoted(*text));
                }
                out.*member = *text == "true";
              },
          .show = [=](const S& s) { return std::string(s.*member ? "true" : "false"); }};
}

// One of a few words. `later`: words of a coming version, with what to do until then.
template <typename E>
struct Words {
  std::vector<std::pair<std::string_view, E>> known;
  std::vector<std::pair<std::string_view, std::string_view>> later;
};
// The index in `known`; nullopt after a fault.
std::optional<std::size_t> ReadWord(const Scope& scope, const Value& value, const std::vector<std::string_view>& known,
                                    const std::vector<std::pair<std::string_view, std::string_view>>& later);

template <typename S, typename E>
Field<S> WordField(E S::*member, Words<E> words) {
  std::vector<std::string_view> names;
  std::string type;
  for (const auto& [name, unused] : words.known) {
    names.push_back(name);
    type += (type.empty() ? "" : " | ") + std::string(name);
  }
  return {.type = type,
          .read =
              [=](const Scope& scope, const Value& value, S& out) {
                const std::optional<std::size_t> index = ReadWord(scope, value, names, words.later);
                if (index) out.*member = words.known[*index].second;
              },
          .show =
              [=](const S& s) {
                for (const auto& [name, word_value] : words.known) {
                  if (word_value == s.*member) return std::string(name);
                }
                return std::string();
              }};
}

// Text of any other form: `parse` gives the member's value, or the words of the fault.
template <typename S, typename T>
Field<S> TextField(T S::*member, const std::string& type, absl::StatusOr<T> (*parse)(std::string_view),
                   bool must_be_quoted = false) {
  return {.type = type,
          .read =
              [=](const Scope& scope, const Value& value, S& out) {
                const std::string* text = schema_internal::ScalarIn(scope, value, type);
                if (text == nullptr) return;
                absl::StatusOr<T> parsed = parse(*text);
                if (!parsed.ok()) return scope.Fail(value, std::string(parsed.status().message()));
                if (must_be_quoted && !value.quoted) return scope.Fail(value, "must stand in quotes", "write " + Quoted(*text));
                out.*member = *std::move(parsed);
              },
          .show = [](const S&) { return std::string(); }};
}

// Reads the keys in the table's order (a later one may depend on an earlier one), then reports the unknown ones.
template <typename S>
void ReadMapping(const Scope& scope, const Value& value, const std::vector<Key<S>>& keys, S& out) {
  if (value.reported) return;
  if (value.kind != Value::Kind::kMapping) {
    return schema_internal::ReportWrongKind(scope, value, "a mapping");
  }
  scope.Remember(value);
  std::vector<std::string_view> known;
  for (const Key<S>& key : keys) {
    known.push_back(key.name);
    const auto entry = std::find_if(value.entries.begin(), value.entries.end(),
                                    [&key](const Entry& candidate) { return candidate.key == key.name; });
    const bool present = entry != value.entries.end();
    const Applies applies = key.applies == nullptr ? Applies::kYes : key.applies(out);
    if (!present) {
      if (key.presence == Presence::kRequired && applies == Applies::kYes) {
        schema_internal::ReportMissing(scope, value, key.name, key.field.type);
      }
      continue;
    }
    const Scope child = scope.Child(key.name);
    if (applies == Applies::kNo) {
      scope.faults.Add(entry->key_span, child.path, "only nodes with role: " + std::string(key.owner) + " have this key", "remove it");
      continue;
    }
    key.field.read(child, entry->value, out);
  }
  schema_internal::ReportUnknownKeys(scope, value, known);
}

// Appends the documentation of each key of a table. Defaults are those of a value-initialized S.
template <typename S>
void DescribeKeys(const std::string& path, const std::vector<Key<S>>& keys, std::vector<KeyDocument>& documents) {
  const S defaults{};
  for (const Key<S>& key : keys) {
    const std::string key_path = path.empty() ? std::string(key.name) : path + "." + std::string(key.name);
    documents.push_back({key_path, key.field.type,
                         key.presence == Presence::kRequired ? std::string() : key.field.show(defaults),
                         std::string(key.owner), std::string(key.meaning)});
    if (key.field.describe_children) key.field.describe_children(key_path, documents);
  }
}

// A mapping with a table of its own.
template <typename S, typename T>
Field<S> MappingField(T S::*member, const std::vector<Key<T>>& (*keys)()) {
  return {.type = "a mapping",
          .read = [=](const Scope& scope, const Value& value, S& out) { ReadMapping(scope, value, keys(), out.*member); },
          .show = [](const S&) { return std::string(); },
          .describe_children = [=](const std::string& path,
                                   std::vector<KeyDocument>& documents) { DescribeKeys(path, keys(), documents); }};
}

// A list of such mappings, at least one.
template <typename S, typename T>
Field<S> ListField(std::vector<T> S::*member, const std::vector<Key<T>>& (*keys)()) {
  return {.type = "a list",
          .read =
              [=](const Scope& scope, const Value& value, S& out) {
                if (value.reported) return;
                if (value.kind != Value::Kind::kSequence) {
                  return schema_internal::ReportWrongKind(scope, value, "a list");
                }
                if (value.items.empty()) return scope.Fail(value, "must have at least one entry");
                scope.Remember(value);
                for (std::size_t i = 0; i < value.items.size(); ++i) {
                  ReadMapping(scope.Item(i), value.items[i], keys(), (out.*member).emplace_back());
                }
              },
          .show = [](const S&) { return std::string(); },
          .describe_children = [=](const std::string& path,
                                   std::vector<KeyDocument>& documents) { DescribeKeys(path + "[]", keys(), documents); }};
}

}  // namespace ashlar::config
