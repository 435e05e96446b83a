// Collects the faults of one text and knows its lines. Internal to common/config.
//
// Threads: one thread at a time. The text must outlive it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "common/config/fault.h"

namespace ashlar::config {

// A stretch of the text: line and column from 0, column and width in bytes.
struct Span {
  int line = 0;
  int column = 0;
  int width = 1;
};

class FaultList {
 public:
  static constexpr std::size_t kMaxFaults = 1000;  // beyond, they are only counted: bounds memory on hostile files
  static constexpr int kExcerptColumns = 120;

  FaultList(std::string_view text, std::string_view filename);

  void Add(Span span, std::string path, std::string what, std::string hint = "");
  void Add(Place place, std::string path, std::string what, std::string hint = "");
  // About the file as a whole: shown first, without a line.
  void AddForFile(std::string what, std::string hint = "");
  // Later faults on this line are dropped: they would follow from one that stands there already.
  void Seal(int line) { sealed_.insert(line + 1); }

  Place PlaceOf(Span span) const;
  std::string_view Line(int line) const;  // without its line break; empty beyond the end
  int line_count() const { return static_cast<int>(line_starts_.size()); }
  bool empty() const { return faults_.empty(); }

  // Sorted by place; faults of one place in the order they were found.
  std::vector<Fault> Take();

 private:
  std::string_view text_;
  std::string filename_;
  std::vector<std::size_t> line_starts_;  // [line] byte offset
  std::vector<Fault> faults_;
  std::size_t left_out_ = 0;
  absl::flat_hash_set<int> sealed_;  // Place::line numbers
};

// Text from the file as it may stand in a message: escaped, at most 48 characters.
std::string Excerpt(std::string_view text);
// The same in double quotes.
std::string Quoted(std::string_view text);

}  // namespace ashlar::config
