// Where pages live when they are not in the program: the seam between paging and the network.
//
// Calls carry batches and never block; results arrive as calls of PageStoreEvents from inside Poll(). Everything here
// belongs to one owner thread, which is also the one that serves faults: so Poll() must be cheap and bounded.
// Implementations: remote_page_store.h (FIT to a home mnode), an in-memory one for tests and simulation, and a wrapper
// that breaks it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "common/base/ids.h"

namespace ashlar::pnode {

// The caller's own name for a request. Returned, never interpreted.
using Cookie = std::uint64_t;

struct FetchRequest {
  SpaceId space;
  PageNumber page;
  Version version;            // exactly this one: the last that was acknowledged
  std::span<std::byte> into;  // 4 KiB inside a buffer given to AddBuffer; borrowed until OnFetched
  Cookie cookie = 0;
};

struct DirtyPage {
  PageNumber page;
  Version version;                   // new; higher than any version of this page sent before (a resend repeats it)
  std::span<const std::byte> bytes;  // 4 KiB inside a buffer given to AddBuffer, or empty: the page is all zero. Borrowed
                                     // until OnWrittenBack
  std::uint32_t crc32c = 0;          // PageCrc32c(space, page, version, bytes)
  Cookie cookie = 0;
};

struct TrimRange {
  PageNumber first_page;
  std::uint64_t page_count = 0;
  Version up_to_version;  // versions up to this one are dropped; a page that returns starts above
};

// The level a write-back reached. Ordered: a higher one includes the lower ones.
enum class AckLevel : std::uint8_t { kHome = 0, kMemory = 1, kDisk = 2 };

class PageStoreEvents {
 public:
  virtual ~PageStoreEvents() = default;
  // OK: the bytes of exactly that version are in `into`. Unavailable or DeadlineExceeded: nothing is known, ask again.
  // DataLoss: that version cannot be had any more, not even later. The buffer is the caller's again in every case.
  virtual void OnFetched(Cookie cookie, const absl::Status& status) = 0;
  // OK: `version` is kept at `level`, and the caller may forget its bytes if that is enough. Any error: it may not;
  // Unavailable, DeadlineExceeded, ResourceExhausted: send the same version again. The bytes are the caller's again.
  virtual void OnWrittenBack(Cookie cookie, const absl::Status& status, AckLevel level) = 0;
  // The space can never be served again (its home came back empty, or another pnode owns it). No more events for it.
  virtual void OnSpaceLost(SpaceId space, const absl::Status& reason) = 0;
};

class PageStore {
 public:
  virtual ~PageStore() = default;

  virtual void SetEvents(PageStoreEvents* events) = 0;  // once, before the first call

  // Memory that fetches go into and write-backs come from; page-aligned. It must outlive the store, or be taken back
  // with RemoveBuffer once no request names it.
  virtual absl::Status AddBuffer(std::span<std::byte> bytes) = 0;
  virtual void RemoveBuffer(std::span<std::byte> bytes) = 0;

  // Makes the space known to its home (and by it to the replicas) behind the calls that follow. The id must never have
  // been used before.
  virtual absl::Status CreateSpace(SpaceId space) = 0;
  // Ends the space everywhere. Requests under way for it end with Cancelled; their buffers come back by the usual events.
  virtual void DestroySpace(SpaceId space) = 0;

  // Never for a page that has a write-back under way.
  virtual void Fetch(std::span<const FetchRequest> requests) = 0;
  // At most kMaxWriteBackPages in one call: one batch on the wire. ResourceExhausted: too many batches are under way,
  // nothing was taken, try after the next Poll that returned something.
  static constexpr std::size_t kMaxWriteBackPages = 64;
  virtual absl::Status WriteBack(SpaceId space, std::span<const DirtyPage> pages) = 0;
  // Dropped pages. Sent in order behind write-backs given before; repeated until the home has it.
  virtual void Trim(SpaceId space, std::span<const TrimRange> ranges) = 0;

  // Does what can be done now, calls the events, never blocks. Returns how many events were delivered.
  virtual int Poll() = 0;
  // To sleep: Arm(), then Poll() once more; if that returned 0, event_fd() becomes readable when Poll has work. The sleep
  // must end at NextTimerNs() (MonotonicNs) too; 0 = no timer.
  virtual void Arm() = 0;
  virtual int event_fd() const = 0;
  virtual std::uint64_t NextTimerNs() const = 0;
};

}  // namespace ashlar::pnode
