#include "daemons/pnode/supervisor/supervisor.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"

namespace ashlar::pnode {
namespace {

std::uint64_t Ns(absl::Duration duration) { return static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(duration)); }

// A trace that never ran out has no lease.
bool Endless(absl::Duration lease) { return lease == absl::InfiniteDuration(); }

}  // namespace

Supervisor::Supervisor(const BpfTracer::Options& options) : options_(options), wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  ASHLAR_CHECK(wake_fd_.valid(), "eventfd errno={}", errno);
  thread_ = std::thread([this] { Run(); });
}

Supervisor::~Supervisor() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  Wake();
  thread_.join();
}

absl::Status Supervisor::Prepare() {
  absl::MutexLock lock(&mutex_);
  return PrepareLocked();
}

absl::Status Supervisor::PrepareLocked() {
  if (tracer_ != nullptr) return absl::OkStatus();
  const std::uint64_t begin_ns = MonotonicNs();
  ASHLAR_ASSIGN_OR_RETURN(tracer_, BpfTracer::Load(options_));
  book_ = std::make_unique<TraceBook>(*tracer_);
  miss_sink_.store(&sink_.emplace(tracer_->MakeMissSink()), std::memory_order_release);
  log::Info("supervisor: strace programs loaded slots={} took_ms={}", options_.slot_count, (MonotonicNs() - begin_ns) / 1'000'000);
  return absl::OkStatus();
}

absl::StatusOr<bool> Supervisor::Trace(const TraceTarget& target) {
  absl::Status status;
  {
    absl::MutexLock lock(&mutex_);
    ASHLAR_RETURN_IF_ERROR(PrepareLocked());
    const std::uint64_t now_ns = MonotonicNs();
    if (book_->Traces(target.program)) {
      if (const auto lease = leases_.find(target.program); lease != leases_.end()) {
        if (Endless(target.lease)) leases_.erase(lease);
        else lease->second.length = std::max(lease->second.length, target.lease);
      }
      RenewLocked(target.program, now_ns);
      return true;
    }
    ASHLAR_RETURN_IF_ERROR(tracer_->Attach());
    idle_since_ns_ = 0;
    book_->Begin({.program = target.program, .name = target.name, .pid = target.pid, .attached_late = target.late, .now_ns = now_ns});
    const absl::StatusOr<std::uint32_t> process = tracer_->AddProcess(target.pid, target.program, target.late);
    if (process.ok()) {
      ForEachThread(tracer_->table(), *process, [&](std::uint32_t slot) {
        strace_info& info = tracer_->table().slots[slot];
        const bool helper = std::find(target.helper_tids.begin(), target.helper_tids.end(), static_cast<int>(info.tid)) != target.helper_tids.end();
        if (helper) info.flags |= kSlotHelper;
      });
      for (const int pid : target.child_pids) {
        const absl::Status child = tracer_->AddProcess(pid, target.program, target.late).status();
        if (!child.ok() && !absl::IsNotFound(child)) log::Warn("supervisor: a child is not traced pid={} why=\"{}\"", pid, child);
      }
      if (!Endless(target.lease)) leases_[target.program] = {target.lease, now_ns + Ns(target.lease)};
    } else {
      status = process.status();
      book_->End(target.program, now_ns);
    }
  }
  Wake();  // from now on it ticks
  if (!status.ok()) return status;
  return false;
}

absl::Status Supervisor::Stop(SpaceId program) {
  absl::MutexLock lock(&mutex_);
  return StopLocked(program, MonotonicNs());
}

absl::Status Supervisor::StopLocked(SpaceId program, std::uint64_t now_ns) {
  if (book_ == nullptr || !book_->Traces(program)) return absl::NotFoundError(absl::StrCat("program ", absl::Hex(program.value()), " is not traced"));
  ASHLAR_RETURN_IF_ERROR(tracer_->RemoveTasks(program));
  book_->End(program, now_ns);
  leases_.erase(program);
  return absl::OkStatus();
}

void Supervisor::RenewLocked(SpaceId program, std::uint64_t now_ns) {
  const auto lease = leases_.find(program);
  if (lease != leases_.end()) lease->second.ends_ns = now_ns + Ns(lease->second.length);
}

absl::StatusOr<control::SyscallReport> Supervisor::Report(SpaceId program) {
  absl::MutexLock lock(&mutex_);
  if (book_ == nullptr) return absl::NotFoundError(absl::StrCat("program ", absl::Hex(program.value()), " is not traced"));
  const std::uint64_t now_ns = MonotonicNs();
  RenewLocked(program, now_ns);
  TickLocked(now_ns);  // who asks right after the end gets the end
  return book_->Report(program, now_ns);
}

absl::StatusOr<control::ThreadReport> Supervisor::Threads(SpaceId program) {
  absl::MutexLock lock(&mutex_);
  if (book_ == nullptr) return absl::NotFoundError(absl::StrCat("program ", absl::Hex(program.value()), " is not traced"));
  const std::uint64_t now_ns = MonotonicNs();
  RenewLocked(program, now_ns);
  TickLocked(now_ns);
  return book_->Threads(program, now_ns);
}

void Supervisor::TickLocked(std::uint64_t now_ns) {
  ++ticks_;
  tracer_->DrainWakeUps();
  book_->Tick(now_ns);
  std::vector<SpaceId> expired;
  for (const auto& [program, lease] : leases_) {
    if (now_ns >= lease.ends_ns) expired.push_back(program);
  }
  for (const SpaceId program : expired) {
    if (const absl::Status status = StopLocked(program, now_ns); !status.ok() && !absl::IsNotFound(status)) {
      log::Warn("supervisor: a trace nobody asks for can't be stopped space={:x} why=\"{}\"", program.value(), status);
    }
    leases_.erase(program);
  }
  if (book_->live_traces() != 0) {
    idle_since_ns_ = 0;
  } else if (idle_since_ns_ == 0) {
    idle_since_ns_ = now_ns;
  } else if (tracer_->attached() && now_ns - idle_since_ns_ >= Ns(kLinger)) {
    tracer_->Detach();
  }
}

absl::Duration Supervisor::NextTickLocked() const {
  if (tracer_ == nullptr || !tracer_->attached()) return absl::InfiniteDuration();
  const tracer_state& state = tracer_->state();
  const std::uint64_t taken = LoadRelaxed(state.slots_used) - (LoadAcquire(state.free_slots_tail) - LoadAcquire(state.free_slots_head));
  return taken > options_.slot_count / 2 ? kFastTick : kTick;
}

void Supervisor::Run() {
  ::pthread_setname_np(::pthread_self(), "supervisor");
  for (;;) {
    absl::Duration wait;
    pollfd polled[2] = {{wake_fd_.get(), POLLIN, 0}, {-1, POLLIN, 0}};
    {
      absl::MutexLock lock(&mutex_);
      if (stop_) return;
      wait = NextTickLocked();
      if (tracer_ != nullptr) polled[1].fd = tracer_->wake_fd();
    }
    const int timeout_ms = Endless(wait) ? -1 : static_cast<int>(absl::ToInt64Milliseconds(wait));
    ::poll(polled, 2, timeout_ms);
    eventfd_t ignored;
    ::eventfd_read(wake_fd_.get(), &ignored);
    absl::MutexLock lock(&mutex_);
    if (tracer_ != nullptr) TickLocked(MonotonicNs());
  }
}

void Supervisor::Wake() { ::eventfd_write(wake_fd_.get(), 1); }

void Supervisor::AddStats(StatList* stats) const {
  absl::MutexLock lock(&mutex_);
  stats->Add("strace_attached", tracer_ != nullptr && tracer_->attached() ? 1 : 0);
  if (tracer_ == nullptr) return;
  stats->Add("strace_programs", book_->live_traces());
  stats->Add("strace_slots_used", LoadRelaxed(tracer_->state().slots_used));  // ever
  stats->Add("strace_folded_threads_total", book_->folded_threads());
  stats->Add("strace_overflow_threads_total", LoadRelaxed(tracer_->state().overflow_threads));
  stats->Add("strace_lost_total", tracer_->lost());
}

}  // namespace ashlar::pnode
