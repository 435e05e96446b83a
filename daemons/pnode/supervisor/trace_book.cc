#include "daemons/pnode/supervisor/trace_book.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemons/pnode/supervisor/syscall_names.h"

namespace ashlar::pnode {
namespace {

std::string CommOf(const char (&comm)[16]) { return std::string(comm, ::strnlen(comm, sizeof(comm))); }

void AddSlot(const strace_info& slot, CallTotals& into) {
  const std::size_t entries = std::min<std::size_t>(LoadAcquire(slot.entry_count), kEntries);
  for (std::size_t i = 0; i < entries; ++i) into.Add(slot.entries[i]);
  if (LoadAcquire(slot.state) == kSlotDead && LoadRelaxed(slot.enter_ns) != 0) into.AddUnreturned(slot.nr);
}

}  // namespace

void TraceBook::Begin(const TraceStart& start) {
  std::erase_if(ended_, [&](const auto& each) { return each.first == start.program; });
  Trace& trace = traces_[start.program];
  trace = Trace{};
  trace.start = start;
}

void TraceBook::End(SpaceId program, std::uint64_t now_ns) {
  Trace* trace = Find(program);
  if (trace == nullptr || trace->end_ns != 0) return;
  const std::uint32_t used = source_.processes_used();
  for (std::uint32_t i = 1; i < used; ++i) {
    const process_info& process = source_.table().processes[i];
    if (LoadAcquire(process.state) == kProcessFree || process.trace != program.value()) continue;
    EndProcess(*trace, i, now_ns);
  }
  Retire(program, now_ns);
}

bool TraceBook::Traces(SpaceId program) const { return traces_.contains(program); }

std::size_t TraceBook::live_traces() const { return traces_.size(); }

std::uint32_t TraceBook::Tick(std::uint64_t now_ns) {
  const std::uint64_t before = folded_threads_;
  const SlotTable table = source_.table();
  const std::uint32_t used = source_.processes_used();
  absl::btree_map<SpaceId, bool> alive;
  for (std::uint32_t i = 0; i < used; ++i) {
    const process_info& process = table.processes[i];
    const std::uint32_t state = LoadAcquire(process.state);
    if (i != 0 && state == kProcessFree) continue;
    const SpaceId program(process.trace);
    Trace* trace = i == 0 ? &others_ : Find(program);
    if (trace == nullptr) trace = &others_;  // of a trace that was forgotten: its slots go back all the same
    UnlinkDead(table, i, [&](std::uint32_t slot) { Fold(*trace, slot, now_ns); });
    if (i == 0) continue;
    trace->seen = true;
    if (state == kProcessDead) {
      EndProcess(*trace, i, now_ns);
    } else if (Missing(i, now_ns)) {
      trace->incomplete = true;
      EndProcess(*trace, i, now_ns);
    } else {
      alive[program] = true;
    }
  }
  std::vector<SpaceId> over;
  for (const auto& [program, trace] : traces_) {
    if (trace.seen && !alive.contains(program)) over.push_back(program);
  }
  for (const SpaceId program : over) Retire(program, now_ns);
  return static_cast<std::uint32_t>(folded_threads_ - before);
}

bool TraceBook::Missing(std::uint32_t process, std::uint64_t now_ns) {
  if (source_.PidInUse(source_.table().processes[process].tgid)) {
    missing_since_.erase(process);
    return false;
  }
  const auto [at, added] = missing_since_.try_emplace(process, now_ns);
  if (added || now_ns - at->second < kMissingNs) return false;
  missing_since_.erase(at);
  return true;
}

void TraceBook::Fold(Trace& trace, std::uint32_t index, std::uint64_t now_ns) {
  strace_info& slot = source_.table().slots[index];
  ++folded_threads_;
  if ((slot.flags & kSlotHelper) == 0) {
    if (slot.state != kSlotDead) {  // not traced any more, or its end was not seen: no call of it is known to be its last
      slot.state = kSlotDead;
      slot.end_ns = now_ns;
      slot.enter_ns = 0;
    }
    AddSlot(slot, trace.totals);
    ++trace.ended_threads;
    trace.user_miss_ns += LoadRelaxed(slot.user_miss_ns);
    trace.user_miss_count += LoadRelaxed(slot.user_miss_count);
    // A heap by life time, the shortest on top: the longest-lived stay.
    const auto longer = [](const control::ThreadStats& a, const control::ThreadStats& b) { return a.life_ns > b.life_ns; };
    const std::uint64_t life_ns = slot.end_ns > slot.start_ns ? slot.end_ns - slot.start_ns : 0;
    if (trace.kept.size() < kThreadsKept || life_ns > trace.kept.front().life_ns) {
      if (trace.kept.size() == kThreadsKept) {
        std::pop_heap(trace.kept.begin(), trace.kept.end(), longer);
        trace.kept.pop_back();
      }
      trace.kept.push_back(RowOf(trace, slot, slot.end_ns));
      std::push_heap(trace.kept.begin(), trace.kept.end(), longer);
    }
  }
  ClearSlot(slot);
  source_.GiveBackSlot(index);
}

void TraceBook::EndProcess(Trace& trace, std::uint32_t index, std::uint64_t now_ns) {
  process_info& process = source_.table().processes[index];
  UnlinkAll(source_.table(), index, [&](std::uint32_t slot) { Fold(trace, slot, now_ns); });
  if ((process.flags & kProcessOverflow) != 0) source_.AddOverflow(index, /*take=*/true, trace.totals);
  trace.overflow_threads += process.overflow_threads;
  trace.ended_threads += process.overflow_threads;
  ++trace.ended_processes;
  missing_since_.erase(index);
  ClearProcess(process);
  source_.GiveBackProcess(index);
}

void TraceBook::Retire(SpaceId program, std::uint64_t now_ns) {
  auto node = traces_.extract(program);
  if (node.empty()) return;
  node.mapped().end_ns = now_ns;
  ended_.emplace_back(program, std::move(node.mapped()));
  if (ended_.size() > kEndedKept) ended_.pop_front();
}

TraceBook::Trace* TraceBook::Find(SpaceId program) {
  if (const auto at = traces_.find(program); at != traces_.end()) return &at->second;
  for (auto& [ended, trace] : ended_) {
    if (ended == program) return &trace;
  }
  return nullptr;
}

template <typename Visit>
void TraceBook::ForEachLive(SpaceId program, Visit visit) {
  const SlotTable table = source_.table();
  const std::uint32_t used = source_.processes_used();
  for (std::uint32_t i = 1; i < used; ++i) {
    const process_info& process = table.processes[i];
    if (LoadAcquire(process.state) != kProcessFree && process.trace == program.value()) visit(i, process);
  }
}

control::ThreadStats TraceBook::RowOf(const Trace& trace, const strace_info& slot, std::uint64_t now_ns) const {
  const bool dead = LoadAcquire(slot.state) == kSlotDead;
  const std::uint64_t end_ns = dead ? slot.end_ns : now_ns;
  control::ThreadStats row{.pid = static_cast<int>(slot.tgid), .tid = static_cast<int>(slot.tid), .name = CommOf(slot.comm), .ended = dead};
  row.start_ns = slot.start_ns > trace.start.now_ns ? slot.start_ns - trace.start.now_ns : 0;
  row.life_ns = end_ns > slot.start_ns ? end_ns - slot.start_ns : 0;
  row.user_miss_ns = LoadRelaxed(slot.user_miss_ns);
  row.user_miss_count = LoadRelaxed(slot.user_miss_count);
  const std::uint64_t enter_ns = LoadRelaxed(slot.enter_ns);
  if (enter_ns != 0 && !dead) {
    row.in_call = SyscallName(slot.nr);
    row.in_call_ns = now_ns > enter_ns ? now_ns - enter_ns : 0;
  }
  CallTotals totals;
  AddSlot(slot, totals);
  row.syscalls = totals.List();
  return row;
}

absl::StatusOr<control::SyscallReport> TraceBook::Report(SpaceId program, std::uint64_t now_ns) {
  Trace* trace = Find(program);
  if (trace == nullptr) return absl::NotFoundError(absl::StrCat("program ", absl::Hex(program.value()), " is not traced"));
  control::SyscallReport report{.program = program, .name = trace->start.name, .pid = trace->start.pid, .attached_late = trace->start.attached_late};
  report.final = trace->end_ns != 0;
  report.incomplete = trace->incomplete;
  report.elapsed_ns = (report.final ? trace->end_ns : now_ns) - trace->start.now_ns;
  report.ended_threads = trace->ended_threads;
  report.ended_processes = trace->ended_processes;
  report.overflow_threads = trace->overflow_threads;
  report.user_miss_ns = trace->user_miss_ns;
  report.user_miss_count = trace->user_miss_count;
  report.lost = source_.lost();
  CallTotals totals = trace->totals;
  if (!report.final) {
    const SlotTable table = source_.table();
    ForEachLive(program, [&](std::uint32_t index, const process_info& process) {
      ++report.live_processes;
      report.overflow_threads += process.overflow_threads;
      ForEachThread(table, index, [&](std::uint32_t at) {
        const strace_info& slot = table.slots[at];
        if ((slot.flags & kSlotHelper) != 0) return;
        LoadAcquire(slot.state) == kSlotDead ? ++report.ended_threads : ++report.live_threads;
        report.user_miss_ns += LoadRelaxed(slot.user_miss_ns);
        report.user_miss_count += LoadRelaxed(slot.user_miss_count);
        AddSlot(slot, totals);
      });
      if ((process.flags & kProcessOverflow) != 0) source_.AddOverflow(index, /*take=*/false, totals);
    });
  }
  report.total = totals.List();
  CallTotals others = others_.totals;
  const SlotTable table = source_.table();
  ForEachThread(table, 0, [&](std::uint32_t at) { AddSlot(table.slots[at], others); });
  source_.AddOverflow(0, /*take=*/false, others);
  report.others_calls = others.calls();
  return report;
}

absl::StatusOr<control::ThreadReport> TraceBook::Threads(SpaceId program, std::uint64_t now_ns) {
  Trace* trace = Find(program);
  if (trace == nullptr) return absl::NotFoundError(absl::StrCat("program ", absl::Hex(program.value()), " is not traced"));
  control::ThreadReport report;
  report.threads = trace->kept;
  report.ended_without_a_row = trace->ended_threads - trace->kept.size();
  if (trace->end_ns == 0) {
    const SlotTable table = source_.table();
    ForEachLive(program, [&](std::uint32_t index, const process_info&) {
      ForEachThread(table, index, [&](std::uint32_t at) {
        if ((table.slots[at].flags & kSlotHelper) == 0) report.threads.push_back(RowOf(*trace, table.slots[at], now_ns));
      });
    });
  }
  std::stable_sort(report.threads.begin(), report.threads.end(), [](const auto& a, const auto& b) { return a.start_ns < b.start_ns; });
  return report;
}

}  // namespace ashlar::pnode
