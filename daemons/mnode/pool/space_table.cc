#include "daemons/mnode/pool/space_table.h"

#include "common/base/check.h"

namespace ashlar::mnode {

Space* SpaceTable::Find(SpaceId id) const {
  const auto it = spaces_.find(id);
  return it == spaces_.end() ? nullptr : it->second.get();
}

Space& SpaceTable::Create(SpaceId id, SpaceOwner owner, Epoch epoch) {
  ASHLAR_CHECK(!Ended(id), "space {} ended before", id.value());
  auto [it, added] = spaces_.try_emplace(id, nullptr);
  ASHLAR_CHECK(added, "space {} is there already", id.value());
  it->second = std::make_unique<Space>(*pool_, id, owner, epoch);
  return *it->second;
}

void SpaceTable::End(SpaceId id) {
  const auto it = spaces_.find(id);
  ASHLAR_CHECK(it != spaces_.end(), "space {} is not here", id.value());
  ASHLAR_CHECK(it->second->extent_count() == 0, "space {} ends with extents", id.value());
  spaces_.erase(it);
  RememberEnded(id);
}

void SpaceTable::RememberEnded(SpaceId id) {
  if (!ended_.insert(id).second) return;
  ended_order_.push_back(id);
  if (ended_order_.size() <= kMaxEnded) return;
  ended_.erase(ended_order_.front());
  ended_order_.pop_front();
}

std::vector<SpaceId> SpaceTable::OwnedBy(const SpaceOwner& owner) const {
  std::vector<SpaceId> owned;
  for (const auto& [id, space] : spaces_)
    if (space->owner() == owner) owned.push_back(id);
  return owned;
}

}  // namespace ashlar::mnode
