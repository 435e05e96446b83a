// What is wrong in a config file and where. A file's faults are collected and shown together, sorted by place:
//
//   lab.yaml:14:5: nodes[0].cache_byts: unknown key; did you mean "cache_bytes"?
//      14 |     cache_byts: 64MiB
//         |     ^~~~~~~~~~
//
// Threads: values.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace ashlar::config {

// Where something stands. Lines and columns start at 1 and count characters; line 0 = the file as a whole.
struct Place {
  std::string file;
  int line = 0;
  int column = 0;
  int width = 1;            // characters to underline, all on `line`
  std::string source_line;  // at most kExcerptColumns of it, printable
  int excerpt_column = 0;   // the column at which source_line starts
};

struct Fault {
  Place place;
  std::string path;  // "nodes[0].cache_bytes"; empty = the document
  std::string what;  // "unknown key"
  std::string hint;  // "did you mean …"; may be empty
};

// Every fault with its source line and caret, then "2 errors, nothing was changed". `faults` as the parser sorted them.
std::string RenderFaults(const std::vector<Fault>& faults);
// "file:line:col: path: what; hint": the first line of the above.
std::string RenderLine(const Fault& fault);

}  // namespace ashlar::config
