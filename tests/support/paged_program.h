// Runs a program on a fault thread and an in-memory page store, without daemons: for stress and benchmarks of paging alone.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemons/pnode/paging/fault_thread.h"
#include "tests/support/memory_page_store.h"

namespace ashlar::pnode {

// OK, or why this process may not page programs: a test says so and skips.
absl::Status ProbePagingRights();

class PagedProgram : private PagingEvents {
 public:
  struct Options {
    std::uint64_t limit_bytes = 64 << 20;
    std::uint32_t victim_percent = 12;
    std::uint32_t staging_pages = 128;
    absl::Duration give_up = absl::Seconds(10);
    MemoryPageStore::Faults store_faults;  // called on the fault thread
  };
  static absl::StatusOr<std::unique_ptr<PagedProgram>> Start(std::vector<std::string> argv, const Options& options);
  ~PagedProgram() override;

  // Waits until the program has ended and its memory is released. Its wait status.
  int Wait();
  pid_t pid() const { return pid_; }
  FaultThread& thread() { return *thread_; }
  const ProgramCounters& counters() const { return *counters_; }
  std::string killed_reason() const;
  const std::string& store_violation() const { return store_.violation; }  // after Wait

 private:
  PagedProgram() = default;
  void KillProgram(SpaceId space, std::string_view reason) override;
  void OnChildSeen(SpaceId, int) override {}
  void OnHolding(SpaceId, bool, std::string_view) override {}
  void OnEnded(SpaceId space) override;

  MemoryPageStore store_;
  std::unique_ptr<FaultThread> thread_;
  std::shared_ptr<const ProgramCounters> counters_;
  std::atomic<pid_t> pid_{-1};
  int wait_status_ = 0;
  mutable absl::Mutex mutex_;
  std::string killed_reason_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace ashlar::pnode
