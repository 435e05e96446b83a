// What every benchmark of ours shares: flags, alternating rounds, medians, one JSON line per metric, targets.
//
//   int main(int argc, char** argv) {
//     bench::Harness harness("fabric", argc, argv);
//     harness.Compare({.metric = "tcp_read_4k", .fabric = "tcp", .unit = "us", .floor = "raw tcp ping-pong"},
//                    [&] { return OurTimes(); }, [&] { return RawTimes(); });
//     return 0;  // also when a target was missed: a benchmark reports, it does not judge
//   }
//
// Flags: --quick (45 s at most in all), --rounds N, --json (one object per line on stdout, nothing else there),
// --only METRIC. Ours and the floor run in turns and swap who is first; the ratio is the median of the rounds' ratios.
// Targets stand in tests/bench/targets.h, in no benchmark.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace ashlar::bench {

struct Metric {
  std::string metric;
  std::string fabric;  // "tcp"; empty: no network in it
  std::string unit;    // "us", "per_s", "MB/s", "percent"
  std::string floor;   // what it is measured against; empty: nothing
  std::string fair;    // what the floor does not do and we do, or the other way round; printed beside the ratio
};

struct Summary {
  double p50 = 0;
  double p99 = 0;
  double max = 0;
  std::size_t n = 0;
};
Summary Summarize(std::vector<double> values);

class Harness {
 public:
  // Leaves the process with 64 on a wrong flag, 0 after --help.
  Harness(std::string_view bench, int argc, char** argv);

  bool quick() const { return quick_; }
  int rounds() const { return rounds_; }
  bool Wants(std::string_view metric) const { return only_.empty() || only_ == metric; }

  // What one round measured: a time for each operation, or one rate.
  using Round = std::function<std::vector<double>()>;
  // One warm-up of each, then `rounds` of each in turns. Does nothing when --only names another metric.
  void Compare(const Metric& metric, const Round& ours, const Round& floor);
  // The same without a floor; the target, if any, is for the value itself.
  void Measure(const Metric& metric, const Round& ours);
  // For a metric whose rounds the benchmark runs itself: values of each round, and of the floor's (empty: none).
  void Report(const Metric& metric, const std::vector<std::vector<double>>& ours, const std::vector<std::vector<double>>& floor);
  void Skip(const Metric& metric, std::string_view reason);

 private:
  std::string bench_;
  bool quick_ = false;
  bool json_ = false;
  int rounds_ = 5;
  std::string only_;
  std::string commit_;
};

}  // namespace ashlar::bench
