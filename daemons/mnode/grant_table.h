// Who may read which extent one-sided: the windows granted per extent, and their end before the extent changes hands.
//
// Threads: one thread at a time (the shard's).
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "common/fabric/contract.h"
#include "common/fit/server.h"
#include "daemons/mnode/pool/pool.h"

namespace ashlar::mnode {

class GrantTable {
 public:
  GrantTable(fabric::Region& pool_region, std::size_t extents) : region_(pool_region), grants_(extents) {}

  // The session's read window on that extent; asked again: the same one. nullopt: the fabric has none to give.
  std::optional<fabric::RemoteWindow> Grant(const std::shared_ptr<fit::Session>& session, ExtentIndex extent);
  // `done` runs when no peer can reach the extent any more (at once if no window lives).
  void RevokeAll(ExtentIndex extent, absl::AnyInvocable<void()> done);
  const Counter& refused() const { return refused_; }

 private:
  struct Entry {
    std::weak_ptr<fit::Session> session;  // dead: its endpoint was destroyed, and the window with it
    fabric::RemoteWindow window;
  };
  fabric::Region& region_;
  std::vector<std::vector<Entry>> grants_;  // by extent; one living entry, two while a client reconnects
  Counter refused_;
};

}  // namespace ashlar::mnode
