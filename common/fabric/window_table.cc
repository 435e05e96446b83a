#include "common/fabric/window_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace ashlar::fabric {

WindowTable::WindowTable(std::uint32_t max_windows, std::uint64_t base)
    : max_windows_(std::min(max_windows, kMaxWindows)), base_(base) {
  slots_.reserve(max_windows_);
  free_.reserve(max_windows_);
}

absl::StatusOr<RemoteWindow> WindowTable::Grant(CountedRegion& region, std::uint64_t offset, std::uint64_t bytes,
                                                Access access) {
  std::uint32_t index = 0;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else if (slots_.size() < max_windows_) {
    index = static_cast<std::uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    return absl::ResourceExhaustedError(
        absl::StrCat("fabric: all ", max_windows_, " windows of this endpoint are granted; revoke some"));
  }
  Slot& slot = slots_[index];
  slot.region = &region;
  slot.data = region.bytes().data() + offset;
  slot.bytes = bytes;
  slot.access = access;
  slot.alive = true;
  region.Pin();
  return RemoteWindow{.key = RemoteKey(index | static_cast<std::uint32_t>(slot.generation) << 16), .base = base_, .bytes = bytes};
}

const WindowTable::Slot* WindowTable::Find(RemoteKey key) const {
  const std::uint32_t index = IndexOf(key);
  if (index >= slots_.size()) return nullptr;
  const Slot& slot = slots_[index];
  if (slot.region == nullptr || slot.generation != key.value() >> 16) return nullptr;
  return &slot;
}

bool WindowTable::Revoke(const RemoteWindow& window) {
  const Slot* found = Find(window.key);
  if (found == nullptr || !found->alive || window.base != base_) return false;
  Slot& slot = slots_[IndexOf(window.key)];
  slot.alive = false;
  if (slot.pins == 0) Release(IndexOf(window.key));
  return true;
}

bool WindowTable::InUse(RemoteKey key) const { return Find(key) != nullptr; }

WindowTable::Target WindowTable::Check(RemoteKey key, std::uint64_t address, std::uint32_t bytes, Access wanted) const {
  const Slot* slot = Find(key);
  if (slot == nullptr || !slot->alive) return {.refusal = "unknown or revoked key"};
  if ((static_cast<unsigned>(slot->access) & static_cast<unsigned>(wanted)) == 0) return {.refusal = "access not granted"};
  if (address < base_) return {.refusal = "address below the window"};
  const std::uint64_t offset = address - base_;
  if (offset > slot->bytes || bytes > slot->bytes - offset) return {.refusal = "beyond the end of the window"};
  return {.data = slot->data + offset};
}

void WindowTable::Pin(RemoteKey key) {
  ASHLAR_CHECK(Find(key) != nullptr, "only a checked key is pinned; key={}", key.value());
  ++slots_[IndexOf(key)].pins;
}

void WindowTable::Unpin(RemoteKey key) {
  ASHLAR_CHECK(Find(key) != nullptr, "unpinned after release; key={}", key.value());
  Slot& slot = slots_[IndexOf(key)];
  ASHLAR_CHECK(slot.pins > 0, "unpinned more often than pinned; key={}", key.value());
  if (--slot.pins == 0 && !slot.alive) Release(IndexOf(key));
}

void WindowTable::Release(std::uint32_t index) {
  Slot& slot = slots_[index];
  slot.region->Unpin();
  slot.region = nullptr;
  slot.alive = false;
  slot.pins = 0;
  if (slot.generation == 0xFFFF) return;  // used up: the slot rests until the connection ends
  ++slot.generation;
  free_.push_back(static_cast<std::uint16_t>(index));
}

void WindowTable::ReleaseAll() {
  for (std::uint32_t index = 0; index < slots_.size(); ++index) {
    if (slots_[index].region != nullptr) Release(index);
  }
}

}  // namespace ashlar::fabric
