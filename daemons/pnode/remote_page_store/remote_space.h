// What the pnode knows of one space: where it stands between two homes, which extents its home has and the windows to read
// them through, which versions were acknowledged, what waits to be trimmed. Data only; RemotePageStore acts on it.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "common/base/ids.h"
#include "common/fabric/contract.h"
#include "daemons/pnode/remote_page_store/rehoming.h"
#include "daemons/pnode/remote_page_store/trim_queue.h"

namespace ashlar::pnode {

struct HomeLink;

// An extent on its way to a new home: asked for → filled there → its versions compared with ours → proved.
struct ExtentRefill {
  enum class Step : std::uint8_t { kIdle, kMapping, kFilling, kComparing };
  Step step = Step::kIdle;
  bool again = false;          // compared and found short: the home shall read once more
  std::uint64_t not_before_ns = 0;
  std::uint64_t cursor = 0;    // page to compare from
  std::bitset<kExtentPages> proved;
};

struct RemoteExtent {
  fabric::RemoteWindow window;     // key 0: the home has no window to give, its pages are fetched by message
  std::uint64_t window_epoch = 0;  // connection the window belongs to; dead on every other
  bool mapped = false;             // the home has it
  bool unmapping = false;          // UnmapExtents is under way
  std::uint32_t users = 0;         // fetches and write-backs under way that touch it
  std::bitset<kExtentPages> maybe_there;  // a write-back was begun and no trim followed
  // [page in extent] last acknowledged version; counts only where maybe_there is set; 0 = none. 8 KiB per 4 MiB
  std::unique_ptr<std::array<std::uint64_t, kExtentPages>> acked;
  std::unique_ptr<ExtentRefill> refill;  // nullptr: the home has all of it

  std::uint64_t AckedAt(std::size_t page) const { return acked != nullptr && maybe_there.test(page) ? (*acked)[page] : 0; }
  void Acknowledge(std::size_t page, Version version) {
    if (!maybe_there.test(page)) return;  // trimmed meanwhile
    if (acked == nullptr) acked = std::make_unique<std::array<std::uint64_t, kExtentPages>>();
    (*acked)[page] = std::max((*acked)[page], version.value());
  }
  void Forget(std::size_t page) {  // it was trimmed
    maybe_there.reset(page);
    if (acked != nullptr) (*acked)[page] = 0;
  }
  bool AnyAcked() const {
    for (std::size_t page = 0; acked != nullptr && page < kExtentPages; ++page)
      if (AckedAt(page) != 0) return true;
    return false;
  }
};

// What one storage node said of the space.
struct StorageView {
  Epoch fenced{0};     // it has this epoch on its disk, or knows nothing of the space that could be fenced
  bool keeps = false;  // valid once fenced: it knows the space
  bool busy = false;   // FenceEpoch is under way
  std::uint64_t retry_at_ns = 0;
};

struct RemoteSpace {
  RemoteSpace(SpaceId space, std::size_t max_trims, std::size_t storages) : id(space), storage(storages), trims(max_trims) {}

  const SpaceId id;
  Epoch epoch{1};
  RehomeState rehome = RehomeState::kSeeking;
  HomeLink* home = nullptr;    // nullptr: HasHome(rehome) is false
  bool ending = false;         // DestroySpace was called
  bool map_busy = false;       // one MapExtents
  bool control_busy = false;   // one Trim, UnmapExtents or DestroySpace
  bool compare_busy = false;   // one Compare
  bool loss_told = false;      // OnSpaceLost was called
  absl::Status lost;           // not OK: it can never be served again, and why
  std::uint32_t active = 0;    // fetches and write-backs that have not come back to the caller
  std::uint32_t fences_busy = 0;
  std::uint64_t map_retry_at_ns = 0, control_retry_at_ns = 0;
  std::vector<StorageView> storage;  // by the store's storage links
  absl::btree_map<std::uint64_t, RemoteExtent> extents;  // with pages, or that the home has, by ExtentOf(page)
  absl::btree_set<std::uint64_t> make_wanted;            // a write-back waits for them
  absl::btree_set<std::uint64_t> window_wanted;          // a fetch waits for them
  absl::btree_set<std::uint64_t> maybe_empty;            // trimmed; to be unmapped if nothing came back meanwhile
  TrimQueue trims;

  // While refilling.
  std::uint64_t left_at_ns = 0;            // when the last home was left; 0: never
  std::size_t extents_to_refill = 0;       // at the fence
  absl::btree_set<std::uint64_t> to_refill;  // not proved yet
  std::deque<std::uint64_t> missed;        // extents in which somebody waits: refilled first; at most 64

  bool created() const { return rehome == RehomeState::kRefilling || rehome == RehomeState::kServed; }
  RemoteExtent* Find(PageNumber page) { return FindNumber(ExtentOf(page)); }
  RemoteExtent* FindNumber(std::uint64_t number) {
    const auto it = extents.find(number);
    return it == extents.end() ? nullptr : &it->second;
  }
};

}  // namespace ashlar::pnode
