#include "common/telemetry/stat_list.h"

#include <gtest/gtest.h>

namespace ashlar {
namespace {

TEST(StatList, MergesSeriesOfTheSameNameAndLabels) {
  Histogram histogram;
  histogram.Add(7);
  StatList total, more;
  total.Add("faults_total", std::uint64_t{3}, "source=remote");
  more.Add("faults_total", std::uint64_t{4}, "source=remote");
  more.Add("faults_total", std::uint64_t{5}, "source=victim");
  more.Add("wait_ns", histogram);
  total.Merge(more);
  total.Merge(more);
  ASSERT_EQ(total.values.size(), 2u);
  EXPECT_EQ(total.values[0].value, 11u);
  EXPECT_EQ(total.values[1].value, 10u);
  ASSERT_EQ(total.histograms.size(), 1u);
  EXPECT_EQ(total.histograms[0].snapshot.count, 2u);
}

}  // namespace
}  // namespace ashlar
