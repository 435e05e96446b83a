// Reads page versions back while the log goes on: what a space's next home asks for. A version is checked before it is
// believed; one that does not verify is marked bad in the index, and never are other bytes handed out in its place.
//
// Threads: one thread at a time; reads are asynchronous.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "common/base/mapping.h"
#include "daemons/snode/replica_log/log_counters.h"
#include "daemons/snode/replica_log/log_device.h"
#include "daemons/snode/replica_log/page_index.h"

namespace ashlar::snode {

enum class ReadVerdict : std::uint8_t {
  kOk,
  kNotFound,  // no version is held
  kBad,       // a version is held and cannot be read back: `stored` names it
};

struct StoredPage {
  Version version;
  std::uint64_t era = 0;
  std::uint32_t crc = 0;
  bool zero = false;
};

struct PageRead {
  PageNumber page;
  ReadVerdict verdict = ReadVerdict::kNotFound;
  StoredPage stored;
  std::span<const std::byte> bytes;  // of a page that is kOk and not zero; valid only inside `done`
};

class PageReader {
 public:
  static constexpr std::uint64_t kReadTag = std::uint64_t{1} << 62;  // set in the tags of its reads
  static constexpr std::size_t kMaxPages = 64;                       // of a call
  static constexpr std::size_t kSlots = 8;                           // calls being read at a time
  static constexpr std::size_t kMaxWaiting = 256;                    // calls that wait for a slot
  static constexpr std::size_t kMaxReads = 32;                       // reads the disk has at a time
  using Done = absl::AnyInvocable<void(std::span<const PageRead>)>;

  static absl::StatusOr<std::unique_ptr<PageReader>> Make(LogDevice& device, PageIndex& index, LogCounters& counters,
                                                          const Clock& clock);

  // Reads what the index holds of at most kMaxPages pages. `done` runs in RunDone, with the pages in their order.
  // ResourceExhausted: too many calls wait.
  absl::Status Start(SpaceId space, std::span<const PageNumber> pages, Done done);
  absl::Status OnReadDone(std::uint64_t tag, int error);
  // Runs what has ended, begins what waits.
  absl::Status RunDone();

  bool idle() const { return active_ == 0 && waiting_.empty(); }
  bool has_done() const { return !ended_.empty(); }

 private:
  struct Call {
    SpaceId space;
    std::vector<PageRead> pages;
    Done done;
    std::uint64_t started_ns = 0;
  };
  // One page of a call that has bytes; the i-th piece is read to the i-th page of the slot's buffer.
  struct Piece {
    std::uint32_t index = 0;  // in Call::pages
    BlockAddress from;
  };
  // Pieces that lie one behind the other on disk: one read.
  struct Run {
    std::uint32_t first_piece = 0, count = 0;
  };
  struct Slot {
    Call call;
    bool busy = false;
    std::span<std::byte> bytes;
    std::vector<Piece> pieces;
    std::vector<Run> runs;
    std::uint32_t unread = 0;  // runs not yet ended
    bool one_by_one = false;   // no runs: one of them could not be read
    bool again = false;        // begin the call once more when all runs have ended
  };

  PageReader(LogDevice& device, PageIndex& index, LogCounters& counters, const Clock& clock, Mapping buffer);
  absl::Status BeginWaiting();
  absl::Status Begin(std::uint32_t slot_index);
  absl::Status SubmitRuns();
  void Judge(Slot& slot, std::uint32_t piece_index, int error);

  LogDevice& device_;
  PageIndex& index_;
  LogCounters& counters_;
  const Clock& clock_;
  Mapping buffer_;
  std::array<Slot, kSlots> slots_;
  std::deque<Call> waiting_;
  std::deque<std::uint64_t> queued_;  // tags of runs the disk does not have yet
  std::size_t reading_ = 0;           // runs the disk has
  std::size_t active_ = 0;            // slots that are busy
  std::vector<std::uint32_t> ended_;  // slots whose `done` is to run
};

// Marks the version `held` bad, counts and logs it; once. `error`: errno of the read, 0 if the bytes do not verify.
void ReportBad(PageIndex& index, LogCounters& counters, SpaceId space, PageNumber page, const PageSlot& held, int error);

}  // namespace ashlar::snode
