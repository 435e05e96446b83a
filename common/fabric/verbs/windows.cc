#include "common/fabric/verbs/windows.h"

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"

namespace ashlar::fabric::verbs {
namespace {

unsigned AccessFlags(Access access) {
  switch (access) {
    case Access::kRemoteRead: return IBV_ACCESS_REMOTE_READ;
    case Access::kRemoteWrite: return IBV_ACCESS_REMOTE_WRITE;
    case Access::kRemoteReadWrite: return IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
  }
  ASHLAR_CHECK(false, "no such access {}", static_cast<int>(access));
}

}  // namespace

absl::StatusOr<std::uint32_t> Windows::TakeSlot(ibv_pd* pd) {
  if (granted_ >= max_windows_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("fabric: all ", max_windows_, " windows of this endpoint are granted; revoke some"));
  }
  if (!free_.empty()) {
    const std::uint32_t index = free_.back();
    free_.pop_back();
    return index;
  }
  Owned<ibv_mw> window(::ibv_alloc_mw(pd, IBV_MW_TYPE_2));
  if (window == nullptr) return ErrnoStatus(errno, absl::StrCat("fabric: memory window ", slots_.size() + 1));
  slots_.push_back(Slot{.window = std::move(window)});
  return static_cast<std::uint32_t>(slots_.size() - 1);
}

absl::StatusOr<RemoteWindow> Windows::Grant(ibv_pd* pd, VerbsRegion& region, std::uint64_t offset, std::uint64_t bytes, Access access) {
  if (bytes == 0) return absl::InvalidArgumentError("fabric: a window needs at least one byte");
  ASHLAR_ASSIGN_OR_RETURN(const std::uint32_t index, TakeSlot(pd));
  Slot& slot = slots_[index];
  slot.region = &region;
  slot.address = reinterpret_cast<std::uint64_t>(region.bytes().data()) + offset;
  slot.bytes = bytes;
  slot.access = AccessFlags(access);
  slot.key = RemoteKey(::ibv_inc_rkey(slot.window->rkey));
  slot.alive = true;
  ++slot.bindings;
  ++granted_;
  by_key_[slot.key] = index;
  region.Pin();
  return RemoteWindow{.key = slot.key, .base = slot.address, .bytes = bytes};
}

void Windows::FillBind(RemoteKey key, ibv_send_wr& request) {
  Slot& slot = slots_[by_key_.at(key)];
  request.opcode = IBV_WR_BIND_MW;
  request.bind_mw.mw = slot.window.get();
  request.bind_mw.rkey = key.value();
  request.bind_mw.bind_info = {.mr = slot.region->mr(), .addr = slot.address, .length = slot.bytes, .mw_access_flags = slot.access};
}

void Windows::FillInvalidate(RemoteKey key, ibv_send_wr& request) const {
  request.opcode = IBV_WR_LOCAL_INV;
  request.invalidate_rkey = key.value();
}

bool Windows::Revoke(const RemoteWindow& window) {
  const auto found = by_key_.find(window.key);
  if (found == by_key_.end()) return false;
  Slot& slot = slots_[found->second];
  if (!slot.alive || slot.address != window.base) return false;
  slot.alive = false;
  return true;
}

void Windows::Invalidated(RemoteKey key) {
  const auto found = by_key_.find(key);
  ASHLAR_CHECK(found != by_key_.end(), "only a window that was granted is revoked; key={}", key.value());
  const std::uint32_t index = found->second;
  by_key_.erase(found);
  Slot& slot = slots_[index];
  slot.region->Unpin();
  slot.region = nullptr;
  slot.window->rkey = key.value();  // what the next binding counts from
  --granted_;
  if (slot.bindings < kMaxBindings) free_.push_back(index);
}

void Windows::Unbind() {
  for (Slot& slot : slots_) slot.window.reset();
}

void Windows::ReleaseAll() {
  for (Slot& slot : slots_) {
    slot.window.reset();
    if (slot.region != nullptr) slot.region->Unpin();
    slot.region = nullptr;
  }
  slots_.clear();
  free_.clear();
  by_key_.clear();
  granted_ = 0;
}

}  // namespace ashlar::fabric::verbs
