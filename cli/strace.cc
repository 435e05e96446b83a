#include "cli/strace.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <fmt/core.h>

#include "absl/strings/str_cat.h"
#include "common/config/units.h"

namespace ashlar::cli {
namespace {

using control::SyscallReport;
using control::SyscallStats;
using control::ThreadStats;

double Micros(std::uint64_t ns) { return static_cast<double>(ns) / 1e3; }
double Percent(std::uint64_t part, std::uint64_t whole) { return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole); }
std::string Human(std::uint64_t ns) { return config::HumanDuration(absl::Nanoseconds(static_cast<std::int64_t>(ns))); }

std::uint64_t SortKey(const SyscallStats& stats, StraceSort sort) {
  switch (sort) {
    case StraceSort::kTime:
      return stats.total_ns;
    case StraceSort::kCalls:
      return stats.calls;
    case StraceSort::kErrors:
      return stats.errors;
    case StraceSort::kMax:
      return stats.max_ns;
    case StraceSort::kMiss:
      return stats.miss_ns;
  }
  return 0;
}

SyscallStats Sum(const std::vector<SyscallStats>& list) {
  SyscallStats sum{.name = "total"};
  for (const SyscallStats& stats : list) {
    sum.calls += stats.calls;
    sum.errors += stats.errors;
    sum.restarted += stats.restarted;
    sum.total_ns += stats.total_ns;
    sum.max_ns = std::max(sum.max_ns, stats.max_ns);
    sum.miss_ns += stats.miss_ns;
  }
  return sum;
}

// Whole microseconds from a second on: nobody reads the tenths, and the columns hold.
std::string MicrosText(std::uint64_t ns) { return ns >= 1'000'000'000 ? fmt::format("{:.0f}", Micros(ns)) : fmt::format("{:.1f}", Micros(ns)); }

// A count that is blank where it is 0, as strace does.
std::string Blank(std::uint64_t count) { return count == 0 ? "" : std::to_string(count); }

std::string Row(const SyscallStats& stats, std::uint64_t all_ns, bool compat, bool total) {
  std::string row = fmt::format("{:6.2f} {:11.6f} {:>11} {:>9} {:>9} ", Percent(stats.total_ns, all_ns), static_cast<double>(stats.total_ns) / 1e9,
                                stats.calls == 0 ? 0 : stats.total_ns / stats.calls / 1000, stats.calls, Blank(stats.errors));
  if (compat) return row + Printable(stats.name);
  const auto at = [&](double fraction) {
    return total ? std::string() : MicrosText(Log2Percentile(stats.histogram, fraction, stats.min_ns, stats.max_ns));
  };
  return row + fmt::format("{:<16} {:>8} {:>9} {:>9} {:>7} {:>6.1f}", Printable(stats.name), at(0.5), at(0.99), MicrosText(stats.max_ns), Blank(stats.restarted),
                           Percent(stats.miss_ns, stats.total_ns));
}

std::uint64_t CallsIn(const SyscallReport& report, std::uint32_t number) {
  const auto at = std::find_if(report.total.begin(), report.total.end(), [&](const auto& one) { return one.number == number; });
  return at == report.total.end() ? 0 : at->calls;
}

std::string Rate(std::uint64_t calls, std::uint64_t before, std::uint64_t ns) {
  if (ns == 0 || calls < before) return "";
  return fmt::format("{:.0f}", static_cast<double>(calls - before) * 1e9 / static_cast<double>(ns));
}

// strace's own order and widths: "% time     seconds  usecs/call     calls    errors syscall".
std::string CallTable(std::vector<SyscallStats> list, const StraceOptions& options, const SyscallReport* now, const SyscallReport* before) {
  std::stable_sort(list.begin(), list.end(), [&](const auto& a, const auto& b) { return SortKey(a, options.sort) > SortKey(b, options.sort); });
  std::string heads = "% time     seconds  usecs/call     calls    errors syscall";
  std::string rule = "------ ----------- ----------- --------- --------- ----------------";
  if (!options.compat) {
    absl::StrAppend(&heads, "            p50 us    p99 us    max us restart miss %");
    absl::StrAppend(&rule, " -------- --------- --------- ------- ------");
  }
  if (before != nullptr) {
    absl::StrAppend(&heads, "   calls/s");
    absl::StrAppend(&rule, " ---------");
  }
  const SyscallStats total = Sum(list);
  const std::uint64_t passed_ns = before == nullptr ? 0 : now->elapsed_ns - before->elapsed_ns;
  std::string out = absl::StrCat(heads, "\n", rule, "\n");
  std::uint64_t calls_before = 0;
  for (const SyscallStats& stats : list) {
    if (stats.calls == 0) continue;  // entered and never returned: named below
    absl::StrAppend(&out, Row(stats, total.total_ns, options.compat, false));
    if (before != nullptr) {
      calls_before += CallsIn(*before, stats.number);
      absl::StrAppend(&out, fmt::format(" {:>9}", Rate(stats.calls, CallsIn(*before, stats.number), passed_ns)));
    }
    absl::StrAppend(&out, "\n");
  }
  absl::StrAppend(&out, rule, "\n", Row(total, total.total_ns, options.compat, true));
  if (before != nullptr) absl::StrAppend(&out, fmt::format(" {:>9}", Rate(total.calls, calls_before, passed_ns)));
  absl::StrAppend(&out, "\n");
  return out;
}

std::string UnreturnedWords(const std::vector<SyscallStats>& list) {
  std::string words;
  for (const SyscallStats& stats : list) {
    if (stats.unreturned != 0) absl::StrAppend(&words, words.empty() ? "never returned: " : ", ", Printable(stats.name), " ", stats.unreturned);
  }
  return words.empty() ? "" : words + "\n";
}

std::string Plural(std::uint64_t count, std::string_view one, std::string_view many) {
  return absl::StrCat(count, " ", absl::string_view(count == 1 ? one.data() : many.data(), count == 1 ? one.size() : many.size()));
}

std::string Heading(const SyscallReport& report) {
  std::string line = absl::StrCat("program ", report.pid, " ", Printable(report.name), "  ");
  if (report.final) {
    absl::StrAppend(&line, "ended; ", Plural(report.ended_threads, "thread", "threads"));
  } else {
    absl::StrAppend(&line, report.live_threads, " live, ", Plural(report.ended_threads, "ended thread", "ended threads"));
  }
  const std::uint64_t processes = report.live_processes + report.ended_processes;
  if (processes > 1) absl::StrAppend(&line, " in ", processes, " processes");
  absl::StrAppend(&line, "  ", Human(report.elapsed_ns));
  if (report.attached_late) absl::StrAppend(&line, "  counted since it was asked for, not from the start");
  return line + "\n";
}

std::string Warnings(const SyscallReport& report) {
  std::string words;
  if (report.lost != 0) absl::StrAppend(&words, "LOST ", report.lost, ": threads or calls that are in no table (of all programs of this pnode)\n");
  if (report.others_calls != 0) {
    absl::StrAppend(&words, "not shown: ", report.others_calls, " calls of processes for which there was no record left (of all programs of this pnode)\n");
  }
  if (report.overflow_threads != 0) absl::StrAppend(&words, "in the totals only: ", Plural(report.overflow_threads, "thread", "threads"), " without a slot\n");
  if (report.incomplete) absl::StrAppend(&words, "incomplete: the end of a process was not seen\n");
  return words;
}

std::string MissWords(std::uint64_t user_miss_ns, std::uint64_t count) {
  if (count == 0) return "";
  return absl::StrCat("remote memory outside of calls: ", Human(user_miss_ns), " in ", Plural(count, "miss", "misses"), "\n");
}

Json StatsJson(const SyscallStats& stats) {
  Json histogram = Json::Array();
  for (const std::uint64_t count : stats.histogram) histogram.Add(count);
  return Json::Object()
      .Set("number", stats.number)
      .Set("name", stats.name)
      .Set("calls", stats.calls)
      .Set("errors", stats.errors)
      .Set("restarted", stats.restarted)
      .Set("unreturned", stats.unreturned)
      .Set("total_ns", stats.total_ns)
      .Set("min_ns", stats.min_ns)
      .Set("p50_ns", Log2Percentile(stats.histogram, 0.5, stats.min_ns, stats.max_ns))
      .Set("p99_ns", Log2Percentile(stats.histogram, 0.99, stats.min_ns, stats.max_ns))
      .Set("max_ns", stats.max_ns)
      .Set("miss_ns", stats.miss_ns)
      .Set("miss_count", stats.miss_count)
      .Set("histogram", histogram);
}

Json ListJson(const std::vector<SyscallStats>& list) {
  Json array = Json::Array();
  for (const SyscallStats& stats : list) array.Add(StatsJson(stats));
  return array;
}

}  // namespace

std::string RenderSyscalls(const SyscallReport& report, const StraceOptions& options, const SyscallReport* before) {
  if (options.compat) return CallTable(report.total, options, &report, nullptr);
  return absl::StrCat(Heading(report), CallTable(report.total, options, &report, before), UnreturnedWords(report.total),
                      MissWords(report.user_miss_ns, report.user_miss_count), Warnings(report));
}

std::string RenderThreads(const control::ThreadReport& report, const StraceOptions& options) {
  std::string out;
  for (const ThreadStats& thread : report.threads) {
    absl::StrAppend(&out, "thread ", thread.tid, " of ", thread.pid, " ", Printable(thread.name), thread.ended ? "  ended after " : "  lives for ",
                    Human(thread.life_ns));
    if (!thread.in_call.empty()) absl::StrAppend(&out, "; in ", Printable(thread.in_call), " for ", Human(thread.in_call_ns));
    absl::StrAppend(&out, "\n", CallTable(thread.syscalls, options, nullptr, nullptr), UnreturnedWords(thread.syscalls),
                    MissWords(thread.user_miss_ns, thread.user_miss_count), "\n");
  }
  if (report.ended_without_a_row != 0) {
    absl::StrAppend(&out, "and ", Plural(report.ended_without_a_row, "ended thread", "ended threads"), ", in the totals only (of the ended ones the longest-lived are kept)\n");
  }
  return out;
}

Json SyscallsJson(const SyscallReport& report) {
  return Json::Object()
      .Set("schema", "ashlar.strace/1")
      .Set("program", absl::StrCat(absl::Hex(report.program.value(), absl::kZeroPad16)))
      .Set("name", report.name)
      .Set("pid", report.pid)
      .Set("attached_late", report.attached_late)
      .Set("final", report.final)
      .Set("incomplete", report.incomplete)
      .Set("elapsed_ns", report.elapsed_ns)
      .Set("live_threads", report.live_threads)
      .Set("ended_threads", report.ended_threads)
      .Set("live_processes", report.live_processes)
      .Set("ended_processes", report.ended_processes)
      .Set("overflow_threads", report.overflow_threads)
      .Set("lost", report.lost)
      .Set("others_calls", report.others_calls)
      .Set("user_miss_ns", report.user_miss_ns)
      .Set("user_miss_count", report.user_miss_count)
      .Set("total", ListJson(report.total));
}

Json ThreadsJson(const SyscallReport& report, const control::ThreadReport& threads) {
  Json rows = Json::Array();
  for (const ThreadStats& thread : threads.threads) {
    rows.Add(Json::Object()
                 .Set("pid", thread.pid)
                 .Set("tid", thread.tid)
                 .Set("name", thread.name)
                 .Set("ended", thread.ended)
                 .Set("start_ns", thread.start_ns)
                 .Set("life_ns", thread.life_ns)
                 .Set("user_miss_ns", thread.user_miss_ns)
                 .Set("user_miss_count", thread.user_miss_count)
                 .Set("in_call", thread.in_call)
                 .Set("in_call_ns", thread.in_call_ns)
                 .Set("syscalls", ListJson(thread.syscalls)));
  }
  return SyscallsJson(report).Set("threads", rows).Set("ended_without_a_row", threads.ended_without_a_row);
}

}  // namespace ashlar::cli
