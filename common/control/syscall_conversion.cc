#include "common/control/syscall_conversion.h"

#include <algorithm>
#include <utility>

#include "common/base/status.h"
#include "common/control/error.h"

namespace ashlar::control {

void ToProto(const SyscallStats& from, v1::SyscallStats* to) {
  to->set_number(from.number);
  to->set_name(from.name);
  to->set_calls(from.calls);
  to->set_errors(from.errors);
  to->set_restarted(from.restarted);
  to->set_unreturned(from.unreturned);
  to->set_total_ns(from.total_ns);
  to->set_min_ns(from.min_ns);
  to->set_max_ns(from.max_ns);
  to->set_miss_ns(from.miss_ns);
  to->set_miss_count(from.miss_count);
  std::size_t used = from.histogram.size();
  while (used > 0 && from.histogram[used - 1] == 0) --used;
  to->mutable_histogram()->Add(from.histogram.begin(), from.histogram.begin() + static_cast<std::ptrdiff_t>(used));
}

absl::StatusOr<SyscallStats> FromProto(const v1::SyscallStats& from) {
  SyscallStats to{.number = from.number(), .name = from.name(), .calls = from.calls(), .errors = from.errors(), .restarted = from.restarted(),
                  .unreturned = from.unreturned(), .total_ns = from.total_ns(), .min_ns = from.min_ns(), .max_ns = from.max_ns(),
                  .miss_ns = from.miss_ns(), .miss_count = from.miss_count()};
  if (static_cast<std::size_t>(from.histogram_size()) > to.histogram.size()) return BadField("histogram", "has more than 32 buckets");
  std::copy(from.histogram().begin(), from.histogram().end(), to.histogram.begin());
  return to;
}

void ToProto(const SyscallReport& from, v1::SyscallReport* to) {
  to->set_program_id(from.program.value());
  to->set_name(from.name);
  to->set_pid(from.pid);
  to->set_attached_late(from.attached_late);
  to->set_final(from.final);
  to->set_incomplete(from.incomplete);
  to->set_elapsed_ns(from.elapsed_ns);
  to->set_live_threads(from.live_threads);
  to->set_ended_threads(from.ended_threads);
  to->set_live_processes(from.live_processes);
  to->set_ended_processes(from.ended_processes);
  to->set_overflow_threads(from.overflow_threads);
  to->set_lost(from.lost);
  to->set_others_calls(from.others_calls);
  to->set_user_miss_ns(from.user_miss_ns);
  to->set_user_miss_count(from.user_miss_count);
  for (const SyscallStats& stats : from.total) ToProto(stats, to->add_total());
}

absl::StatusOr<SyscallReport> FromProto(const v1::SyscallReport& from) {
  if (from.pid() < 0) return BadField("pid", "must not be negative");
  SyscallReport to{.program = SpaceId(from.program_id()), .name = from.name(), .pid = from.pid()};
  to.attached_late = from.attached_late();
  to.final = from.final();
  to.incomplete = from.incomplete();
  to.elapsed_ns = from.elapsed_ns();
  to.live_threads = from.live_threads();
  to.ended_threads = from.ended_threads();
  to.live_processes = from.live_processes();
  to.ended_processes = from.ended_processes();
  to.overflow_threads = from.overflow_threads();
  to.lost = from.lost();
  to.others_calls = from.others_calls();
  to.user_miss_ns = from.user_miss_ns();
  to.user_miss_count = from.user_miss_count();
  for (const v1::SyscallStats& stats : from.total()) {
    ASHLAR_ASSIGN_OR_RETURN(SyscallStats added, FromProto(stats));
    to.total.push_back(std::move(added));
  }
  return to;
}

void ToProto(const ThreadStats& from, v1::ThreadStats* to) {
  to->set_pid(from.pid);
  to->set_tid(from.tid);
  to->set_name(from.name);
  to->set_ended(from.ended);
  to->set_start_ns(from.start_ns);
  to->set_life_ns(from.life_ns);
  to->set_user_miss_ns(from.user_miss_ns);
  to->set_user_miss_count(from.user_miss_count);
  to->set_in_call(from.in_call);
  to->set_in_call_ns(from.in_call_ns);
  for (const SyscallStats& stats : from.syscalls) ToProto(stats, to->add_syscalls());
}

absl::StatusOr<ThreadStats> FromProto(const v1::ThreadStats& from) {
  if (from.pid() < 0 || from.tid() < 0) return BadField("threads.tid", "must not be negative");
  ThreadStats to{.pid = from.pid(), .tid = from.tid(), .name = from.name(), .ended = from.ended(), .start_ns = from.start_ns(), .life_ns = from.life_ns()};
  to.user_miss_ns = from.user_miss_ns();
  to.user_miss_count = from.user_miss_count();
  to.in_call = from.in_call();
  to.in_call_ns = from.in_call_ns();
  for (const v1::SyscallStats& stats : from.syscalls()) {
    ASHLAR_ASSIGN_OR_RETURN(SyscallStats added, FromProto(stats));
    to.syscalls.push_back(std::move(added));
  }
  return to;
}

}  // namespace ashlar::control
