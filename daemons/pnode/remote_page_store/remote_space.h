// What the pnode knows of one space at its home: which extents it has there, the windows to read them through, which pages
// may be there, what waits to be trimmed. Data only; RemotePageStore acts on it.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "common/base/ids.h"
#include "common/fabric/contract.h"
#include "daemons/pnode/remote_page_store/trim_queue.h"

namespace ashlar::pnode {

struct RemoteExtent {
  fabric::RemoteWindow window;     // key 0: the home has no window to give, its pages are fetched by message
  std::uint64_t window_epoch = 0;  // connection the window belongs to; dead on every other
  bool unmapping = false;          // UnmapExtents is under way
  std::uint32_t users = 0;         // fetches and write-backs under way that touch it
  std::bitset<kExtentPages> maybe_there;  // a write-back was begun and no trim followed
};

struct RemoteSpace {
  RemoteSpace(SpaceId space, std::size_t max_trims) : id(space), trims(max_trims) {}

  const SpaceId id;
  Epoch epoch{1};
  bool created = false;        // its home said so
  bool ending = false;         // DestroySpace was called
  bool map_busy = false;       // one MapExtents
  bool control_busy = false;   // one Trim, UnmapExtents or DestroySpace
  bool loss_told = false;      // OnSpaceLost was called
  absl::Status lost;           // not OK: it can never be served again, and why
  std::uint32_t active = 0;    // fetches and write-backs that have not come back to the caller
  std::uint64_t map_retry_at_ns = 0, control_retry_at_ns = 0;
  absl::btree_map<std::uint64_t, RemoteExtent> extents;  // that the home has, by ExtentOf(page)
  absl::btree_set<std::uint64_t> make_wanted;            // a write-back waits for them
  absl::btree_set<std::uint64_t> window_wanted;          // a fetch waits for them
  absl::btree_set<std::uint64_t> maybe_empty;            // trimmed; to be unmapped if nothing came back meanwhile
  TrimQueue trims;

  RemoteExtent* Find(PageNumber page) {
    const auto it = extents.find(ExtentOf(page));
    return it == extents.end() ? nullptr : &it->second;
  }
};

}  // namespace ashlar::pnode
