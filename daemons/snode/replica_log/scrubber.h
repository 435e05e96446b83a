// Reads every page that is held, again and again, at a pace that goes round once per period: what rots is found while
// another copy still exists. A page that does not verify is marked bad by the reader; homes then send it again.
//
// Threads: one thread at a time. No I/O of its own: PageReader's.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/base/clock.h"
#include "daemons/snode/replica_log/page_reader.h"

namespace ashlar::snode {

class Scrubber {
 public:
  // A call of 64 pages at most every so often: 32 MiB/s, however short the period.
  static constexpr std::uint64_t kMinPaceNs = 8'000'000;

  // `period_ns` 0: never.
  Scrubber(std::uint64_t period_ns, const PageIndex& index, PageReader& reader, LogCounters& counters, const Clock& clock);

  // Reads the next pages if it is time and `quiet`: commits come first.
  absl::Status Step(bool quiet);
  // When Step wants to be called; nullopt: not now.
  std::optional<std::uint64_t> NextDeadlineNs() const;

 private:
  void BeginPass();
  std::vector<PageNumber> NextPages();

  const std::uint64_t period_ns_;
  const PageIndex& index_;
  PageReader& reader_;
  LogCounters& counters_;
  const Clock& clock_;
  std::vector<SpaceId> spaces_;  // still to be read in this pass, the one being read last
  std::uint64_t next_page_ = 0;  // of that one
  std::uint64_t next_ns_ = 0;
  bool reading_ = false;
};

}  // namespace ashlar::snode
