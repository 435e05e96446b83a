#include "tests/bench/harness.h"

#include <sys/utsname.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <fmt/core.h>

#include "tests/bench/targets.h"

namespace ashlar::bench {
namespace {

constexpr char kUsage[] = "flags: --quick  --rounds N  --json  --only METRIC\n";

double Median(std::vector<double> values) { return Summarize(std::move(values)).p50; }

std::string Quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) >= 0x20) out += c;
  }
  return out + '"';
}

std::string Number(double value) { return std::isfinite(value) ? fmt::format("{:.6g}", value) : "null"; }

void PrintMachine() {
  utsname name{};
  ::uname(&name);
  double load[1] = {0};
  if (::getloadavg(load, 1) != 1) load[0] = -1;
  std::fputs(fmt::format("machine: kernel {} {}, {} CPUs, load {:.1f}\n", name.release, name.machine,
                         std::thread::hardware_concurrency(), load[0]).c_str(), stderr);
}

}  // namespace

Summary Summarize(std::vector<double> values) {
  if (values.empty()) return {};
  std::ranges::sort(values);
  const auto at = [&](double fraction) {
    return values[std::min(values.size() - 1, static_cast<std::size_t>(fraction * static_cast<double>(values.size())))];
  };
  return {.p50 = at(0.5), .p99 = at(0.99), .max = values.back(), .n = values.size()};
}

Harness::Harness(std::string_view bench, int argc, char** argv) : bench_(bench) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (flag == "--quick") {
      quick_ = true;
    } else if (flag == "--json") {
      json_ = true;
    } else if (flag == "--only" && value != nullptr) {
      only_ = value, ++i;
    } else if (flag == "--rounds" && value != nullptr &&
               std::from_chars(value, value + std::strlen(value), rounds_).ec == std::errc() && rounds_ > 0) {
      ++i;
    } else {
      const bool help = flag == "--help";
      std::fputs(kUsage, help ? stdout : stderr);
      std::exit(help ? 0 : 64);
    }
  }
  const char* commit = std::getenv("ASHLAR_COMMIT");
  commit_ = commit != nullptr ? commit : ASHLAR_CONFIGURED_COMMIT;
  PrintMachine();
}

void Harness::Compare(const Metric& metric, const Round& ours, const Round& floor) {
  if (!Wants(metric.metric)) return;
  ours(), floor();
  std::vector<std::vector<double>> our_rounds, floor_rounds;
  for (int round = 0; round < rounds_; ++round) {
    if (round % 2 == 0) our_rounds.push_back(ours());
    floor_rounds.push_back(floor());
    if (round % 2 == 1) our_rounds.push_back(ours());
  }
  Report(metric, our_rounds, floor_rounds);
}

void Harness::Measure(const Metric& metric, const Round& ours) {
  if (!Wants(metric.metric)) return;
  ours();
  std::vector<std::vector<double>> rounds;
  for (int round = 0; round < rounds_; ++round) rounds.push_back(ours());
  Report(metric, rounds, {});
}

void Harness::Report(const Metric& metric, const std::vector<std::vector<double>>& ours,
                     const std::vector<std::vector<double>>& floor) {
  if (!Wants(metric.metric)) return;
  std::vector<double> all, medians, ratios, floor_medians;
  for (std::size_t round = 0; round < ours.size(); ++round) {
    all.insert(all.end(), ours[round].begin(), ours[round].end());
    medians.push_back(Median(ours[round]));
    if (round >= floor.size()) continue;
    floor_medians.push_back(Median(floor[round]));
    ratios.push_back(medians.back() / floor_medians.back());
  }
  Summary summary = Summarize(all);
  summary.p50 = Median(medians);
  const double ratio = ratios.empty() ? NAN : Median(ratios);
  std::optional<Target> target = FindTarget(bench_, metric.metric);
  if (target.has_value() && target->of == Of::kRatio && ratios.empty()) target.reset();  // without its floor there is no verdict
  bool ok = true;
  if (target.has_value()) {
    const double value = target->of == Of::kRatio ? ratio : target->of == Of::kP50 ? summary.p50 : summary.p99;
    ok = target->bound == Bound::kAtMost ? value <= target->value : value >= target->value;
  }
  if (json_) {
    std::string line = fmt::format(R"({{"bench":{},"metric":{},"fabric":{},"unit":{},"p50":{},"p99":{},"max":{},"n":{})",
                                   Quoted(bench_), Quoted(metric.metric), Quoted(metric.fabric), Quoted(metric.unit),
                                   Number(summary.p50), Number(summary.p99), Number(summary.max), summary.n);
    if (!ratios.empty()) {
      line += fmt::format(R"(,"floor":{},"floor_p50":{},"ratio":{})", Quoted(metric.floor), Number(Median(floor_medians)), Number(ratio));
    }
    if (target.has_value()) line += fmt::format(R"(,"target":{},"ok":{})", Number(target->value), ok);
    if (!metric.fair.empty()) line += fmt::format(R"(,"fair":{})", Quoted(metric.fair));
    line += fmt::format(R"(,"commit":{},"rounds":{}}})", Quoted(commit_), ours.size());
    std::puts(line.c_str());
  } else {
    std::string line = fmt::format("{:<14} {:<24} {:<5} p50 {:>9.6g} p99 {:>9.6g} max {:>9.6g} {} n {}", bench_, metric.metric,
                                   metric.fabric, summary.p50, summary.p99, summary.max, metric.unit, summary.n);
    if (!ratios.empty()) line += fmt::format(" | {} {:.6g} ratio {:.3f}", metric.floor, Median(floor_medians), ratio);
    if (target.has_value()) {
      line += fmt::format(" target {} {} {}", target->bound == Bound::kAtMost ? "<=" : ">=", target->value, ok ? "ok" : "MISSED");
    }
    if (!metric.fair.empty()) line += " (" + metric.fair + ")";
    std::puts(line.c_str());
  }
  std::fflush(stdout);
}

void Harness::Skip(const Metric& metric, std::string_view reason) {
  if (!Wants(metric.metric)) return;
  if (json_) {
    std::puts(fmt::format(R"({{"bench":{},"metric":{},"fabric":{},"skipped":{},"commit":{}}})", Quoted(bench_), Quoted(metric.metric),
                          Quoted(metric.fabric), Quoted(reason), Quoted(commit_)).c_str());
  } else {
    std::puts(fmt::format("{:<14} {:<24} skipped: {}", bench_, metric.metric, reason).c_str());
  }
}

}  // namespace ashlar::bench
