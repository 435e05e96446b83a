#include "daemons/pnode/paging/fetch_pool.h"

#include <sys/mman.h>

#include <cstring>

#include "common/base/check.h"
#include "common/base/status.h"

namespace ashlar::pnode {

absl::StatusOr<FetchPool> FetchPool::Create(std::uint32_t group_count) {
  FetchPool pool;
  ASHLAR_ASSIGN_OR_RETURN(pool.buffer_, Mapping::Anonymous(std::size_t{group_count} * kGroupPages * kPageBytes));
  std::memset(pool.buffer_.bytes().data(), 0, pool.buffer_.bytes().size());
  (void)mlock(pool.buffer_.bytes().data(), pool.buffer_.bytes().size());  // best effort: prefaulted anyway
  pool.groups_.resize(group_count);
  for (std::uint32_t i = group_count; i-- > 0;) pool.free_.push_back(i);
  return pool;
}

std::uint32_t FetchPool::Take() {
  if (free_.empty()) return kNone;
  std::uint32_t index = free_.back();
  free_.pop_back();
  return index;
}

void FetchPool::Release(std::uint32_t group) {
  ASHLAR_CHECK(groups_[group].program != nullptr, "a group is released once; group={}", group);
  groups_[group] = Group{};
  free_.push_back(group);
}

}  // namespace ashlar::pnode
