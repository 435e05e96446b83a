// What a daemon says to paging and hears from it: the configuration of one program's memory, and its fate.
#pragma once

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/ids.h"
#include "daemons/pnode/paging/page_store.h"

namespace ashlar::pnode {

struct SpaceConfig {
  enum class OnTrouble : std::uint8_t { kHold, kKill };

  SpaceId space;
  std::uint64_t limit_bytes = 256 << 20;  // of local memory: resident, victim area, staging, not yet adopted
  std::uint32_t fresh_percent = 12;       // of the limit: kept free for memory touched before it is adopted
  absl::Duration give_up = absl::Seconds(60);  // how long the memory may be out of reach before on_trouble counts
  OnTrouble on_trouble = OnTrouble::kHold;     // wait on, or be killed
  AckLevel ack_level = AckLevel::kDisk;        // a write-back below it does not free its bytes
};

// Called from the owner thread; must not block nor call back into paging.
class PagingEvents {
 public:
  virtual ~PagingEvents() = default;
  // SIGKILL every process of the program. Its faults are not served any more: they wait until it is dead, because a
  // missing page must never become zeros. Called once.
  virtual void KillProgram(SpaceId space, std::string_view reason) = 0;
  // A fork was seen: the child reads right bytes from now on, cannot be evicted, and is counted. `uffd` is its
  // userfaultfd, to be duplicated for a second holder: with the last one gone its missing pages would read as zeros.
  virtual void OnChildSeen(SpaceId space, int uffd) = 0;
  // The memory is out of reach for longer than give_up (policy hold), or in reach again.
  virtual void OnHolding(SpaceId space, bool holding, std::string_view reason) = 0;
  // A thread waited that long for a page that was fetched, from the reading of its fault until now, just before it is woken: it
  // still sleeps in the call or at the instruction that wanted the page. Only for numbers; called at every miss.
  virtual void OnMissServed(std::uint32_t thread, std::uint64_t waited_ns) { (void)thread, (void)waited_ns; }
  // All processes are gone, the space is destroyed at its home, and all its memory is free again.
  virtual void OnEnded(SpaceId space) = 0;
};

}  // namespace ashlar::pnode
