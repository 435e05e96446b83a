// What stands between a file's bytes and yaml-cpp: lets through only the part of YAML that we use. yaml-cpp
// stops at its first error, reports an open quote at the end of the file, and Debian's build keeps asserts that anchors
// and tags tripped in earlier versions.
// Internal to common/config.
//
// Let through: block and flow mappings and sequences, plain and quoted scalars that end on their line, comments, one
// leading "---". Everything else is a fault here.
#pragma once

#include <string>
#include <string_view>

#include "common/config/fault_list.h"

namespace ashlar::config {

constexpr std::size_t kMaxFileBytes = 1 << 20;
constexpr std::size_t kMaxLineBytes = 4096;  // yaml-cpp and our column counting are linear per line, so lines are bounded
constexpr int kMaxDepth = 16;                // of nested mappings and sequences

struct LexicalResult {
  // Same lines and columns as the text; anchors, aliases and tags are blanked, so that the rest can still be checked.
  std::string cleaned;
  // False: a fault hides where values start or end, and what follows it would be guesswork.
  bool readable = true;
};

LexicalResult CheckLexically(std::string_view text, FaultList& faults);

}  // namespace ashlar::config
