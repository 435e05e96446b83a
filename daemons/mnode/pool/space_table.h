// The spaces this home keeps, and the numbers of those that ended: a SpaceId is never used twice.
//
// Threads: one thread at a time (the shard's).
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "common/base/ids.h"
#include "daemons/mnode/pool/space.h"

namespace ashlar::mnode {

class SpaceTable {
 public:
  // Ended ids are remembered up to this many, the oldest is forgotten first. Beyond it only the pnode's own rule (a
  // stored counter) protects against a second use.
  static constexpr std::size_t kMaxEnded = 65536;

  explicit SpaceTable(Pool& pool) : pool_(&pool) {}

  Space* Find(SpaceId id) const;  // nullptr: not here
  Space& Create(SpaceId id, SpaceOwner owner, Epoch epoch);
  // Forgets it for ever. Its extents were unmapped before.
  void End(SpaceId id);
  void Forget(SpaceId id) { spaces_.erase(id); }  // it has another home; its extents were unmapped before
  void RememberEnded(SpaceId id);
  bool Ended(SpaceId id) const { return ended_.contains(id); }
  std::vector<SpaceId> OwnedBy(const SpaceOwner& owner) const;
  std::size_t size() const { return spaces_.size(); }
  const auto& all() const { return spaces_; }

 private:
  Pool* pool_;
  absl::flat_hash_map<SpaceId, std::unique_ptr<Space>> spaces_;
  absl::flat_hash_set<SpaceId> ended_;
  std::deque<SpaceId> ended_order_;
};

}  // namespace ashlar::mnode
