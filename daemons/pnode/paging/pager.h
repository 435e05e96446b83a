// All programs of one owner thread, without the thread: what FaultThread drives with real descriptors, and the simulation
// with a clock of its own.
//
// Threads: only the owner thread, but for what is said otherwise.
#pragma once

#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "daemons/pnode/paging/fetch_pool.h"
#include "daemons/pnode/paging/program.h"

namespace ashlar::pnode {

class Pager : private PageStoreEvents {
 public:
  // The store, the clock and the events outlive the pager. Registers the fetch buffers with the store.
  static absl::StatusOr<std::unique_ptr<Pager>> Create(PageStore& store, const Clock& clock, PagingEvents& events,
                                                       std::uint32_t fetch_groups);
  ~Pager() override;

  // Creates the space at its home and starts to serve. The victim bytes are registered with the store here, and given back
  // before OnEnded of `parts`' program is called.
  absl::Status Attach(const SpaceConfig& config, Program::Parts parts, std::shared_ptr<ProgramCounters> counters);
  void PinRanges(SpaceId space, std::uint32_t thread, std::vector<AddressRange> ranges, Program::Done done);
  // The process of the space is said to be gone: look now.
  void ProbeNow();

  // One pass over everything. Returns whether anything was done.
  bool Turn();
  std::uint64_t NextTimerNs() const;  // 0 = none
  bool Arm();
  void Disarm();
  void AppendWaitFds(std::vector<int>& memory_fds, std::vector<int>& process_fds) const;
  std::size_t program_count() const { return programs_.size(); }

  // Told after a program has ended and nothing refers to its victim bytes any more.
  void SetOnReleased(absl::AnyInvocable<void(SpaceId)> released) { released_ = std::move(released); }

 private:
  Pager(PageStore& store, const Clock& clock, PagingEvents& events, FetchPool pool)
      : store_(store), clock_(clock), events_(events), pool_(std::move(pool)) {}

  void OnFetched(Cookie cookie, const absl::Status& status) override;
  void OnWrittenBack(Cookie cookie, const absl::Status& status, AckLevel level) override;
  void OnSpaceLost(SpaceId space, const absl::Status& reason) override;

  struct Entry {
    std::unique_ptr<Program> program;
    std::span<std::byte> victim_bytes;
  };

  PageStore& store_;
  const Clock& clock_;
  PagingEvents& events_;
  FetchPool pool_;
  absl::AnyInvocable<void(SpaceId)> released_;
  std::uint32_t next_number_ = 1;  // of a program, in cookies; never reused
  absl::flat_hash_map<std::uint32_t, Entry> programs_;
};

}  // namespace ashlar::pnode
