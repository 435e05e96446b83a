// A YAML document as a plain tree that remembers where everything stood. yaml-cpp stands behind it and in no header.
// Internal to common/config.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "common/config/fault_list.h"

namespace ashlar::config {

struct Entry;

struct Value {
  enum class Kind { kNull, kScalar, kSequence, kMapping };
  Kind kind = Kind::kNull;
  Span span;
  bool quoted = false;          // scalars: written in quotes, so a string and nothing else
  bool reported = false;        // a fault was told about it already; its content is not here
  std::string scalar;
  std::vector<Value> items;     // of a sequence
  std::vector<Entry> entries;   // of a mapping, in the file's order; of equal keys the first
};

struct Entry {
  std::string key;
  Span key_span;
  Value value;
};

// The only document of `text`. False: no tree could be made, and `faults` says why. True: `root` is whole, but faults of
// form (repeated keys, refused anchors) may stand in `faults` all the same. At most kMaxDepth deep.
bool ParseDocument(std::string_view text, FaultList& faults, Value* root);

}  // namespace ashlar::config
