// One space as its home sees it: who owns it, which extents it has, and which version of each page. Every change of a
// frame goes through here, so that the counts always agree with the frames.
//
// Threads: one thread at a time (the shard's). It does no I/O.
// Invariant: live_pages, behind_pages and idle_behind_pages are what a walk over all frames would count.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "daemons/mnode/pool/pool.h"

namespace ashlar::mnode {

struct SpaceOwner {
  NodeId node;
  Incarnation incarnation;
  friend bool operator==(const SpaceOwner&, const SpaceOwner&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const SpaceOwner& owner) { return H::combine(std::move(h), owner.node, owner.incarnation); }
};

struct PageVersion {
  PageNumber page;
  Version version;
  std::uint32_t crc32c = 0;
};

class Space {
 public:
  Space(Pool& pool, SpaceId id, SpaceOwner owner, Epoch epoch) : pool_(&pool), id_(id), owner_(owner), epoch_(epoch) {}
  Space(const Space&) = delete;
  Space& operator=(const Space&) = delete;

  SpaceId id() const { return id_; }
  const SpaceOwner& owner() const { return owner_; }
  Epoch epoch() const { return epoch_; }
  void RaiseEpoch(Epoch epoch) { epoch_ = epoch; }

  // `number` is ExtentOf(page).
  std::optional<ExtentIndex> FindExtent(std::uint64_t number) const;
  absl::StatusOr<ExtentIndex> MapExtent(std::uint64_t number);  // the one there is, or a new one
  // Takes extents out of the space. They stay taken in the pool: the caller makes them unreachable, then releases them.
  std::optional<ExtentIndex> UnmapExtent(std::uint64_t number);
  std::vector<ExtentIndex> UnmapAll();
  std::size_t extent_count() const { return extents_.size(); }

  // nullptr: the page has no own extent.
  const Frame* Find(PageNumber page) const;
  std::span<const std::byte> BytesOf(PageNumber page) const;  // of a page that Find finds

  // Keeps a version that Judge said to take. Empty `bytes` = a zero page; the frame holds zeros then too.
  void Store(const PageVersion& version, std::span<const std::byte> bytes);
  // An append carries this version / has ended. Nothing happens if the frame holds another version by now.
  void BeginSend(const PageVersion& version);
  void EndSend(const PageVersion& version, bool durable);
  // Another snode keeps the space from now on: nothing is durable there yet.
  void ForgetDurable();
  // Drops versions up to `up_to`; a late write-back of one of them is superseded.
  void Trim(PageNumber first, std::uint64_t count, Version up_to);

  // Fills `out` with pages that no append carries and the snode does not have, from `*cursor` on; moves the cursor
  // behind the last one looked at (to 0 at the end of the space). Returns how many.
  std::size_t CollectBehind(PageNumber* cursor, std::span<PageVersion> out) const;

  std::uint64_t live_pages() const { return live_; }
  std::uint64_t behind_pages() const { return behind_; }            // live and not durable
  std::uint64_t idle_behind_pages() const { return idle_behind_; }  // of these, those no append carries

 private:
  struct Extent {
    ExtentIndex index;
    std::uint32_t idle_behind = 0;
  };
  struct Found {
    Extent* extent;
    Frame* frame;
  };
  Found FindFrame(PageNumber page);
  template <typename Change>
  void Update(const Found& found, Change change);
  void Count(const Found& found, int by);
  void Forget(const Extent& extent);

  Pool* pool_;
  SpaceId id_;
  SpaceOwner owner_;
  Epoch epoch_;
  absl::btree_map<std::uint64_t, Extent> extents_;  // by ExtentOf(page)
  std::uint64_t live_ = 0, behind_ = 0, idle_behind_ = 0;
};

}  // namespace ashlar::mnode
