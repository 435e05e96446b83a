#include "daemons/pnode/paging/fault_thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"
#include "daemons/pnode/paging/helper_mover.h"
#include "daemons/pnode/paging/uffd_source.h"

namespace ashlar::pnode {
namespace {

constexpr std::uint64_t kMaxSleepNs = 100'000'000;

// A shared mapping of a whole memfd.
class SharedMapping {
 public:
  SharedMapping() = default;
  SharedMapping(SharedMapping&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}
  SharedMapping& operator=(SharedMapping&& other) noexcept {
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~SharedMapping() {
    if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
  }
  static absl::StatusOr<SharedMapping> Map(const UniqueFd& fd, std::size_t size, const char* what) {
    struct stat status;
    if (fstat(fd.get(), &status) != 0) return ErrnoStatus(errno, absl::StrCat(what, ": fstat"));
    if (static_cast<std::size_t>(status.st_size) < size || size == 0) {
      return absl::InvalidArgumentError(absl::StrCat(what, ": has ", status.st_size, " bytes, needs ", size));
    }
    void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd.get(), 0);
    if (memory == MAP_FAILED) return ErrnoStatus(errno, absl::StrCat(what, ": mmap"));
    (void)mlock(memory, size);  // best effort: it is populated
    SharedMapping mapping;
    mapping.bytes_ = {static_cast<std::byte*>(memory), size};
    return mapping;
  }
  std::span<std::byte> bytes() const { return bytes_; }

 private:
  std::span<std::byte> bytes_;
};

}  // namespace

struct FaultThread::Mapped {
  SharedMapping control, victim;
  Program::Parts parts;
};

FaultThread::FaultThread(PageStore& store, const Options& options) : store_(store), options_(options) {}

absl::StatusOr<std::unique_ptr<FaultThread>> FaultThread::Start(const Options& options, PageStore& store, PagingEvents& events,
                                                                const Clock& clock) {
  std::unique_ptr<FaultThread> thread(new FaultThread(store, options));
  thread->doorbell_.Reset(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!thread->doorbell_.valid()) return ErrnoStatus(errno, "eventfd");
  ASHLAR_ASSIGN_OR_RETURN(thread->pager_, Pager::Create(store, clock, events, options.fetch_groups));
  FaultThread* self = thread.get();
  self->pager_->SetOnReleased([self](SpaceId space) {
    self->mapped_.erase(space);
    self->Forget(space);
  });
  self->thread_ = std::thread([self] { self->Run(); });
  return thread;
}

FaultThread::~FaultThread() {
  stop_.store(true);
  Push([] {});
  if (thread_.joinable()) thread_.join();
  pager_.reset();
}

void FaultThread::Attach(const SpaceConfig& config, AttachedMemory memory, Program::Done done) {
  auto mapped = std::make_unique<Mapped>();
  auto prepare = [&]() -> absl::Status {
    ASHLAR_ASSIGN_OR_RETURN(mapped->control, SharedMapping::Map(memory.control, sizeof(HelperControl), "control area"));
    ASHLAR_ASSIGN_OR_RETURN(mapped->victim,
                            SharedMapping::Map(memory.victim, std::size_t{memory.victim_slots} * kPageBytes, "victim area"));
    AddressRange staging{memory.staging_address, memory.staging_address + std::uint64_t{memory.staging_pages} * kPageBytes};
    ASHLAR_ASSIGN_OR_RETURN(
        mapped->parts.source,
        UffdSource::Create(std::move(memory.uffd), {memory.pid, std::move(memory.pidfd), {staging}}));
    mapped->parts.mover = std::make_unique<HelperMover>(
        HelperMover::Parts{reinterpret_cast<HelperControl*>(mapped->control.bytes().data()), std::move(memory.move_event),
                           memory.staging_pages});
    mapped->parts.victim_bytes = mapped->victim.bytes();
    return absl::OkStatus();
  };
  if (absl::Status status = prepare(); !status.ok()) {
    done(std::move(status));
    return;
  }
  Push([this, config, mapped = std::move(mapped), done = std::move(done)]() mutable {
    auto counters = std::make_shared<ProgramCounters>();
    Program::Parts parts = std::move(mapped->parts);
    mapped_[config.space] = std::move(mapped);
    absl::Status status = pager_->Attach(config, std::move(parts), counters);
    if (status.ok()) {
      absl::MutexLock lock(&mutex_);
      counters_[config.space] = counters;
    } else {
      mapped_.erase(config.space);
    }
    done(std::move(status));
  });
}

void FaultThread::PinRanges(SpaceId space, std::uint32_t thread, std::vector<AddressRange> ranges, Program::Done done) {
  Push([this, space, thread, ranges = std::move(ranges), done = std::move(done)]() mutable {
    pager_->PinRanges(space, thread, std::move(ranges), std::move(done));
  });
}

void FaultThread::Forget(SpaceId space) {
  absl::MutexLock lock(&mutex_);
  const auto it = counters_.find(space);
  if (it == counters_.end()) return;
  ended_.emplace_back(space, std::move(it->second));
  counters_.erase(it);
  if (ended_.size() <= kEndedRemembered) return;
  StatList totals;
  ended_.front().second->CollectTotals(totals, "");
  retired_.Merge(totals);
  ended_.pop_front();
}

void FaultThread::CollectStats(StatList& into) const {
  std::vector<std::pair<std::shared_ptr<const ProgramCounters>, bool>> all;  // with: does it live
  StatList sum;
  {
    absl::MutexLock lock(&mutex_);
    sum = retired_;
    for (const auto& [space, counters] : ended_) all.emplace_back(counters, false);
    for (const auto& [space, counters] : counters_) all.emplace_back(counters, true);
  }
  for (const auto& [counters, lives] : all) {
    StatList one;
    counters->CollectTotals(one, "");
    if (lives) counters->CollectGauges(one, "");
    sum.Merge(one);
  }
  std::move(sum.values.begin(), sum.values.end(), std::back_inserter(into.values));
  std::move(sum.histograms.begin(), sum.histograms.end(), std::back_inserter(into.histograms));
}

std::shared_ptr<const ProgramCounters> FaultThread::FindCounters(SpaceId space) const {
  absl::MutexLock lock(&mutex_);
  if (const auto it = counters_.find(space); it != counters_.end()) return it->second;
  for (const auto& [ended, counters] : ended_) {
    if (ended == space) return counters;
  }
  return nullptr;
}

void FaultThread::Push(absl::AnyInvocable<void()> command) {
  {
    absl::MutexLock lock(&mutex_);
    commands_.push_back(std::move(command));
    has_commands_.store(true, std::memory_order_release);
  }
  std::uint64_t one = 1;
  (void)!write(doorbell_.get(), &one, sizeof(one));
}

bool FaultThread::RunCommands() {
  if (!has_commands_.load(std::memory_order_acquire)) return false;
  std::vector<absl::AnyInvocable<void()>> commands;
  {
    absl::MutexLock lock(&mutex_);
    commands.swap(commands_);
    has_commands_.store(false, std::memory_order_relaxed);
  }
  for (auto& command : commands) command();
  return !commands.empty();
}

void FaultThread::Run() {
  pthread_setname_np(pthread_self(), options_.name.substr(0, 15).c_str());
  while (!stop_.load(std::memory_order_relaxed)) {
    bool worked = RunCommands();
    worked |= pager_->Turn();
    if (options_.on_turn) options_.on_turn();
    if (!worked) Sleep();
  }
}

void FaultThread::Sleep() {
  if (!pager_->Arm()) {
    std::vector<int> memory_fds{doorbell_.get(), store_.event_fd()};
    std::vector<int> process_fds;
    pager_->AppendWaitFds(memory_fds, process_fds);
    std::vector<pollfd> wait;
    for (int fd : memory_fds) wait.push_back({fd, POLLIN, 0});
    for (int fd : process_fds) wait.push_back({fd, POLLIN, 0});
    std::uint64_t timer_ns = pager_->NextTimerNs();
    std::uint64_t now_ns = MonotonicNs();
    std::uint64_t sleep_ns = timer_ns == 0 ? kMaxSleepNs : std::min(kMaxSleepNs, timer_ns > now_ns ? timer_ns - now_ns : 0);
    timespec timeout{static_cast<time_t>(sleep_ns / 1'000'000'000), static_cast<long>(sleep_ns % 1'000'000'000)};
    if (ppoll(wait.data(), wait.size(), &timeout, nullptr) > 0) {
      std::uint64_t rung = 0;
      if (wait[0].revents != 0) (void)!read(doorbell_.get(), &rung, sizeof(rung));
      for (std::size_t i = memory_fds.size(); i < wait.size(); ++i) {
        if (wait[i].revents != 0) pager_->ProbeNow();
      }
    }
  }
  pager_->Disarm();
}

}  // namespace ashlar::pnode
