#include "common/telemetry/stat_list.h"

#include <algorithm>

namespace ashlar {
namespace {

// The entry of `list` that is the same series as `like`, or nullptr. Lists are short and read by people.
template <typename T>
T* Same(std::vector<T>& list, const T& like) {
  const auto it = std::find_if(list.begin(), list.end(), [&](const T& one) { return one.name == like.name && one.labels == like.labels; });
  return it == list.end() ? nullptr : &*it;
}

}  // namespace

void StatList::Merge(const StatList& other) {
  for (const Stat& stat : other.values) {
    if (Stat* mine = Same(values, stat)) {
      mine->value += stat.value;
    } else {
      values.push_back(stat);
    }
  }
  for (const HistogramStat& stat : other.histograms) {
    if (HistogramStat* mine = Same(histograms, stat)) {
      mine->snapshot.Merge(stat.snapshot);
    } else {
      histograms.push_back(stat);
    }
  }
}

}  // namespace ashlar
