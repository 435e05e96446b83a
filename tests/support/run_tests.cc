#include "tests/support/run_tests.h"

#include <cstdio>
#include <string>

#include "gtest/gtest.h"

namespace ashlar {
namespace {

constexpr int kAllSkipped = 77;

// The words of GTEST_SKIP on one line.
std::string ReasonOf(const testing::TestInfo& test) {
  std::string reason;
  const testing::TestResult& result = *test.result();
  for (int i = 0; i < result.total_part_count(); ++i) {
    if (result.GetTestPartResult(i).skipped()) reason += result.GetTestPartResult(i).message();
  }
  for (char& c : reason) c = c == '\n' ? ' ' : c;
  return reason;
}

class SkipLines : public testing::EmptyTestEventListener {
  void OnTestEnd(const testing::TestInfo& test) override {
    if (!test.result()->Skipped()) return;
    std::printf("SKIPPED %s.%s: %s\n", test.test_suite_name(), test.name(), ReasonOf(test).c_str());
  }
};

}  // namespace

int RunTests() {
  testing::UnitTest& all = *testing::UnitTest::GetInstance();
  all.listeners().Append(new SkipLines);  // gtest owns it
  const int failed = RUN_ALL_TESTS();
  if (failed != 0) return failed;
  return all.successful_test_count() == 0 && all.skipped_test_count() > 0 ? kAllSkipped : 0;
}

}  // namespace ashlar
