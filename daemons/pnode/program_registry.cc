#include "daemons/pnode/program_registry.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/config/units.h"
#include "common/telemetry/log.h"
#include "daemons/pnode/injection/helper_protocol.h"

namespace ashlar::pnode {
namespace {

constexpr absl::Duration kAttachTimeout = absl::Seconds(10);
constexpr std::uint32_t kMostStagingPages = 512;

std::string WaitStatusWords(int wait_status) {
  if (WIFSIGNALED(wait_status)) return absl::StrCat("signal ", WTERMSIG(wait_status));
  return absl::StrCat("exit ", WEXITSTATUS(wait_status));
}

// MOVE needs room for what it takes out until it is copied; a small program gets less of it, because it counts on its limit.
std::uint32_t StagingPagesFor(std::uint64_t limit_bytes) {
  const std::uint64_t wanted = limit_bytes / kPageBytes / 64;
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(wanted, 2 * kMaxMovePages, kMostStagingPages));
}

}  // namespace

ProgramRegistry::ProgramRegistry(const RegistryOptions& options, absl::AnyInvocable<absl::StatusOr<SpaceId>()> take_space)
    : options_(options), take_space_(std::move(take_space)) {}

void ProgramRegistry::Connect(FaultThread& paging, Guard& guard, HandoffServer& handoff, Supervisor& supervisor) {
  paging_ = &paging;
  guard_ = &guard;
  handoff_ = &handoff;
  supervisor_ = &supervisor;
}

absl::StatusOr<ProgramGrant> ProgramRegistry::Admit(const ProgramRequest& request) {
  if (request.strace) ASHLAR_RETURN_IF_ERROR(Annotate(supervisor_->Prepare(), "--strace"));
  std::uint64_t limit = request.limit_bytes / kPageBytes * kPageBytes;
  {
    absl::MutexLock lock(&mutex_);
    const std::uint64_t free = options_.cache_bytes - granted_bytes_;
    if (limit == 0) limit = std::clamp<std::uint64_t>(options_.cache_bytes / 4, kMinLimitBytes, std::max(free, kMinLimitBytes));
    if (limit < kMinLimitBytes) {
      return absl::InvalidArgumentError(absl::StrCat("--cache ", config::HumanSize(request.limit_bytes), " is too small: at least ",
                                                     config::HumanSize(kMinLimitBytes)));
    }
    if (limit > free) {
      return absl::ResourceExhaustedError(absl::StrCat("--cache ", config::HumanSize(limit), " does not fit: ", config::HumanSize(free), " of ",
                                                       config::HumanSize(options_.cache_bytes),
                                                       " are not taken by other programs; ask for less, or raise cache_bytes in the topology"));
    }
    granted_bytes_ += limit;
  }
  absl::StatusOr<SpaceId> space = take_space_();
  absl::MutexLock lock(&mutex_);
  if (!space.ok()) {
    granted_bytes_ -= limit;
    return space.status();
  }
  Record record;
  record.info.program = *space;
  record.info.name = request.name;
  record.info.uid = request.peer.uid;
  record.info.started = absl::Now();
  record.info.limit_bytes = limit;
  record.strace = request.strace;
  programs_.emplace(*space, std::move(record));
  ProgramGrant grant;
  grant.space = *space;
  grant.limit_bytes = limit;
  grant.staging_pages = StagingPagesFor(limit);
  grant.victim_slots = static_cast<std::uint32_t>(limit / kPageBytes * options_.victim_percent / 100);
  grant.give_up = options_.give_up;
  return grant;
}

absl::Status ProgramRegistry::Attach(AttachedProgram program) {
  SpaceConfig config;
  config.space = program.space;
  config.give_up = options_.give_up;
  config.on_trouble = options_.on_trouble;
  config.ack_level = options_.ack_level;
  std::optional<TraceTarget> traced;
  {
    absl::MutexLock lock(&mutex_);
    Record* record = FindLocked(program.space);
    ASHLAR_CHECK(record != nullptr, "attached without a grant space={}", program.space.value());
    record->info.pid = program.injection.pid;
    record->helper_tids = {program.injection.move_tid, program.injection.unshare_tid};
    if (record->strace) traced = {.program = program.space, .name = record->info.name, .pid = record->info.pid, .helper_tids = record->helper_tids};
    config.limit_bytes = record->info.limit_bytes;
  }
  AttachedMemory memory{.uffd = std::move(program.injection.uffd),
                        .pidfd = std::move(program.injection.pidfd),
                        .control = std::move(program.injection.control),
                        .victim = std::move(program.injection.victim),
                        .move_event = std::move(program.injection.move_event),
                        .pid = program.injection.pid,
                        .victim_slots = program.victim_slots,
                        .staging_address = program.injection.addresses.staging,
                        .staging_pages = program.staging_pages};
  // The fault thread answers within its turn; the bound is for the case that it is stuck, which its watchdog ends.
  struct Answer {
    absl::Notification done;
    absl::Status status;
  };
  auto answer = std::make_shared<Answer>();
  paging_->Attach(config, std::move(memory), [answer](absl::Status status) {
    answer->status = std::move(status);
    answer->done.Notify();
  });
  if (!answer->done.WaitForNotificationWithTimeout(kAttachTimeout)) return absl::DeadlineExceededError("the fault thread did not answer");
  if (!answer->status.ok()) return answer->status;
  {
    absl::MutexLock lock(&mutex_);
    if (Record* record = FindLocked(program.space)) record->attached = true;
  }
  ASHLAR_RETURN_IF_ERROR(guard_->Add(program.space, std::move(program.exit_listener)));
  // It stands at its first instruction: what it calls is counted from there on.
  return traced ? supervisor_->Trace(*traced).status() : absl::OkStatus();
}

absl::StatusOr<bool> ProgramRegistry::StartTrace(SpaceId space, absl::Duration lease) {
  TraceTarget target{.program = space, .late = true, .lease = lease};
  {
    absl::MutexLock lock(&mutex_);
    const Record* record = FindLocked(space);
    if (record == nullptr || record->gone || record->info.pid == 0) {
      return absl::NotFoundError(absl::StrCat("no program ", absl::Hex(space.value()), " runs here"));
    }
    target.name = record->info.name;
    target.pid = record->info.pid;
    target.helper_tids = record->helper_tids;
  }
  for (const control::ChildProcess& child : ChildrenOf(space)) target.child_pids.push_back(child.pid);
  return supervisor_->Trace(target);
}

void ProgramRegistry::OnGone(SpaceId space, GoneReason reason, int wait_status) {
  absl::MutexLock lock(&mutex_);
  Record* record = FindLocked(space);
  if (record == nullptr) return;
  record->gone = true;
  if (record->info.state == control::ProgramState::kRunning) {
    record->info.state = reason == GoneReason::kShimLost ? control::ProgramState::kKilled : control::ProgramState::kEnded;
    record->info.state_reason = reason == GoneReason::kNeverRan   ? "never ran"
                                : reason == GoneReason::kShimLost ? "its `ashlar run` went away"
                                                                  : WaitStatusWords(wait_status);
  }
  RetireIfDoneLocked(space);
}

void ProgramRegistry::KillProgram(SpaceId space, std::string_view reason) {
  {
    absl::MutexLock lock(&mutex_);
    if (Record* record = FindLocked(space); record != nullptr && record->info.state == control::ProgramState::kRunning) {
      record->info.state = control::ProgramState::kKilled;
      record->info.state_reason = std::string(reason);
    }
  }
  log::Error("programs: killed space={:x} why=\"{}\"", space.value(), reason);
  handoff_->Kill(space, std::string(reason));
}

void ProgramRegistry::OnChildSeen(SpaceId space, int uffd) {
  // The shim holds a second copy: with the last holder of it gone, the child would read zeros.
  UniqueFd copy(::dup(uffd));
  if (copy.valid()) return handoff_->Hold(space, std::move(copy));
  log::Warn("programs: no descriptor left to let the shim hold a child's memory space={:x}", space.value());
}

void ProgramRegistry::OnHolding(SpaceId space, bool holding, std::string_view reason) {
  absl::MutexLock lock(&mutex_);
  if (Record* record = FindLocked(space)) record->holding = holding ? std::string(reason) : "";
}

void ProgramRegistry::OnEnded(SpaceId space) {
  absl::MutexLock lock(&mutex_);
  if (Record* record = FindLocked(space)) record->ended = true;
  RetireIfDoneLocked(space);
}

void ProgramRegistry::OnThreadExit(ExitTicket ticket) {
  {
    absl::MutexLock lock(&mutex_);
    const Record* record = FindLocked(ticket.space());
    // A forked child is never evicted, and a thread that runs has touched its own control block: nothing to wait for.
    if (record == nullptr || record->info.pid != ticket.pid()) return ticket.Continue();
  }
  const SpaceId space = ticket.space();
  const auto thread = static_cast<std::uint32_t>(ticket.tid());
  std::vector<AddressRange> ranges = ticket.ranges();
  // Whatever the answer, the thread goes on: if its memory is out of reach the program is paused or killed anyway.
  paging_->PinRanges(space, thread, std::move(ranges), [held = std::move(ticket)](const absl::Status&) mutable { held.Continue(); });
}

std::vector<control::ProgramInfo> ProgramRegistry::List(bool include_ended) const {
  std::vector<control::ProgramInfo> list;
  {
    absl::MutexLock lock(&mutex_);
    if (include_ended) list.assign(ended_.begin(), ended_.end());
    for (const auto& [space, record] : programs_) list.push_back(record.info);
  }
  for (control::ProgramInfo& info : list) {
    FillGauges(info);
    info.children = ChildrenOf(info.program);
  }
  std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.started < b.started; });
  return list;
}

std::vector<control::ProgramStats> ProgramRegistry::Stats(bool include_ended) const {
  std::vector<control::ProgramStats> stats;
  for (const control::ProgramInfo& info : List(include_ended)) {
    const std::shared_ptr<const ProgramCounters> counters = paging_->FindCounters(info.program);
    if (counters == nullptr) continue;
    control::ProgramStats one{.program = info.program, .name = info.name, .pid = info.pid, .ended = info.state != control::ProgramState::kRunning};
    counters->CollectStats(one.stats, "");
    stats.push_back(std::move(one));
  }
  return stats;
}

std::vector<control::Problem> ProgramRegistry::Problems() const {
  std::vector<control::Problem> problems;
  absl::MutexLock lock(&mutex_);
  for (const auto& [space, record] : programs_) {
    if (record.holding.empty()) continue;
    problems.push_back({.code = "PROGRAM-WAITS",
                        .text = absl::StrCat(record.info.name, " (pid ", record.info.pid, ") waits for its memory: ", record.holding),
                        .fix = "bring the named node back, or end the program"});
  }
  return problems;
}

std::uint64_t ProgramRegistry::granted_bytes() const {
  absl::MutexLock lock(&mutex_);
  return granted_bytes_;
}

ProgramRegistry::Record* ProgramRegistry::FindLocked(SpaceId space) {
  const auto it = programs_.find(space);
  return it == programs_.end() ? nullptr : &it->second;
}

void ProgramRegistry::RetireIfDoneLocked(SpaceId space) {
  const auto it = programs_.find(space);
  if (it == programs_.end() || !it->second.gone || (it->second.attached && !it->second.ended)) return;
  granted_bytes_ -= it->second.info.limit_bytes;
  ended_.push_back(std::move(it->second.info));
  if (ended_.size() > kEndedRemembered) ended_.pop_front();
  programs_.erase(it);
}

void ProgramRegistry::FillGauges(control::ProgramInfo& info) const {
  const std::shared_ptr<const ProgramCounters> counters = paging_->FindCounters(info.program);
  if (counters == nullptr) return;
  const auto bytes = [](const Counter& pages) { return pages.value() * kPageBytes; };
  info.resident_bytes = bytes(counters->resident_pages) + bytes(counters->child_pages);
  info.staged_bytes = bytes(counters->staged_pages);
  info.remote_bytes = bytes(counters->remote_pages);
  info.local_only_bytes = bytes(counters->local_pages);
  info.peak_resident_bytes = bytes(counters->peak_pages);
}

std::vector<control::ChildProcess> ProgramRegistry::ChildrenOf(SpaceId space) const {
  std::vector<control::ChildProcess> children;
  for (const ProgramStatus& status : handoff_->Programs()) {
    if (status.space != space) continue;
    for (const ProcessInfo& process : status.children) {
      children.push_back({.pid = process.pid,
                          .name = process.name,
                          .mode = process.executed ? control::ChildMode::kLocal : control::ChildMode::kServed});
    }
  }
  return children;
}

}  // namespace ashlar::pnode
