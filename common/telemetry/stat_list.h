// How a component hands its numbers to whoever shows them (gRPC, later /metrics): a flat list of named values. Names are
// the metric names without the `ashlar_<role>_` prefix, e.g. "faults_total" with label "source=remote".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "common/telemetry/counter.h"
#include "common/telemetry/histogram.h"

namespace ashlar {

struct Stat {
  std::string name;    // unit last: …_bytes, …_ns, …_total for counts that only grow
  std::string labels;  // "key=value,key=value", may be empty
  std::uint64_t value = 0;
};
struct HistogramStat {
  std::string name;  // …_ns or …_pages: the unit of the values
  std::string labels;
  HistogramSnapshot snapshot;
};

struct StatList {
  std::vector<Stat> values;
  std::vector<HistogramStat> histograms;

  // Adds each number of `other` to the one of the same name and labels here.
  void Merge(const StatList& other);

  void Add(std::string_view name, std::uint64_t value, std::string_view labels = "") {
    values.push_back({std::string(name), std::string(labels), value});
  }
  void Add(std::string_view name, const Counter& counter, std::string_view labels = "") {
    Add(name, counter.value(), labels);
  }
  void Add(std::string_view name, const Histogram& histogram, std::string_view labels = "") {
    histograms.push_back({std::string(name), std::string(labels), histogram.Snapshot()});
  }
};

}  // namespace ashlar
