#include "daemons/pnode/paging/victim_area.h"

#include <bit>

#include "common/base/check.h"

namespace ashlar::pnode {

VictimArea::VictimArea(std::span<std::byte> bytes) : bytes_(bytes), slots_(bytes.size() / kPageBytes) {
  std::size_t bucket_count = std::bit_ceil(slots_.size() * 2 + 2);
  buckets_.assign(bucket_count, kNone);
  bucket_shift_ = static_cast<unsigned>(64 - std::countr_zero(bucket_count));
  heads_.fill(kNone);
  tails_.fill(kNone);
  for (std::uint32_t i = 0; i < slots_.size(); ++i) {
    Link(i, SlotState::kFree);
    ++counts_[static_cast<std::size_t>(SlotState::kFree)];
  }
}

void VictimArea::Link(std::uint32_t index, SlotState state, bool at_front) {
  auto list = static_cast<std::size_t>(state);
  Slot& slot = slots_[index];
  slot.previous = at_front ? kNone : tails_[list];
  slot.next = at_front ? heads_[list] : kNone;
  (slot.previous == kNone ? heads_[list] : slots_[slot.previous].next) = index;
  (slot.next == kNone ? tails_[list] : slots_[slot.next].previous) = index;
}

void VictimArea::Unlink(std::uint32_t index) {
  Slot& slot = slots_[index];
  if (slot.blocked) return;
  auto list = static_cast<std::size_t>(slot.state);
  (slot.previous == kNone ? heads_[list] : slots_[slot.previous].next) = slot.next;
  (slot.next == kNone ? tails_[list] : slots_[slot.next].previous) = slot.previous;
}

void VictimArea::Relink(std::uint32_t index, SlotState state, bool at_front) {
  Unlink(index);
  Slot& slot = slots_[index];
  slot.blocked = false;
  --counts_[static_cast<std::size_t>(slot.state)];
  slot.state = state;
  ++counts_[static_cast<std::size_t>(state)];
  Link(index, state, at_front);
}

void VictimArea::AddToIndex(std::uint32_t index) {
  std::uint32_t& bucket = BucketOf(slots_[index].page);
  slots_[index].bucket_next = bucket;
  bucket = index;
}

void VictimArea::RemoveFromIndex(std::uint32_t index) {
  std::uint32_t* link = &BucketOf(slots_[index].page);
  while (*link != index) {
    ASHLAR_CHECK(*link != kNone, "a newest slot is in the index; slot={}", index);
    link = &slots_[*link].bucket_next;
  }
  *link = slots_[index].bucket_next;
}

std::uint32_t VictimArea::Take() {
  std::uint32_t index = Oldest(SlotState::kFree);
  if (index == kNone) {
    index = Oldest(SlotState::kClean);
    if (index == kNone) return kNone;
    RemoveFromIndex(index);
  }
  Relink(index, SlotState::kFilling);
  return index;
}

void VictimArea::Return(std::uint32_t index) {
  ASHLAR_CHECK(slots_[index].state == SlotState::kFilling, "only a taken slot is returned; slot={}", index);
  Relink(index, SlotState::kFree);
}

void VictimArea::MakeDirty(std::uint32_t index, const Content& content, std::uint64_t now_ns) {
  ASHLAR_CHECK(slots_[index].state == SlotState::kFilling, "only a taken slot is filled; slot={}", index);
  Forget(content.page);
  Slot& slot = slots_[index];
  slot.page = content.page;
  slot.version = content.version;
  slot.hash = content.hash;
  slot.all_zero = content.all_zero;
  slot.since_ns = now_ns;
  Relink(index, SlotState::kDirty);
  AddToIndex(index);
}

void VictimArea::MakeClean(std::uint32_t index, const Content& content) {
  ASHLAR_CHECK(slots_[index].state == SlotState::kFilling, "only a taken slot is filled; slot={}", index);
  Forget(content.page);
  Slot& slot = slots_[index];
  slot.page = content.page;
  slot.version = content.version;
  slot.hash = content.hash;
  slot.all_zero = content.all_zero;
  Relink(index, SlotState::kClean);
  AddToIndex(index);
}

void VictimArea::SetBlocked(std::uint32_t index, bool blocked) {
  Slot& slot = slots_[index];
  ASHLAR_CHECK(slot.state == SlotState::kDirty, "only an unsent slot waits; slot={}", index);
  if (slot.blocked == blocked) return;
  if (blocked) {
    Unlink(index);
    slot.blocked = true;
  } else {
    slot.blocked = false;
    Link(index, SlotState::kDirty, /*at_front=*/true);  // it has waited already
  }
}

void VictimArea::MakeSending(std::uint32_t index) {
  ASHLAR_CHECK(slots_[index].state == SlotState::kDirty && !slots_[index].blocked, "only a ready slot is sent; slot={}", index);
  Relink(index, SlotState::kSending);
}

void VictimArea::OnSent(std::uint32_t index, bool kept) {
  switch (slots_[index].state) {
    case SlotState::kSending: Relink(index, kept ? SlotState::kClean : SlotState::kDirty, /*at_front=*/!kept); return;
    case SlotState::kOrphan: Relink(index, SlotState::kFree); return;
    default: ASHLAR_CHECK(false, "a slot that was not sent came back; slot={}", index);
  }
}

std::uint32_t VictimArea::Find(PageNumber page) const {
  std::uint32_t index = const_cast<VictimArea*>(this)->BucketOf(page);
  while (index != kNone && slots_[index].page != page) index = slots_[index].bucket_next;
  return index;
}

void VictimArea::Forget(PageNumber page) {
  std::uint32_t index = Find(page);
  if (index == kNone) return;
  RemoveFromIndex(index);
  Relink(index, slots_[index].state == SlotState::kSending ? SlotState::kOrphan : SlotState::kFree);
}

bool VictimArea::HasOrphan(PageNumber page) const {
  for (std::uint32_t i = Oldest(SlotState::kOrphan); i != kNone; i = slots_[i].next) {
    if (slots_[i].page == page) return true;
  }
  return false;
}

}  // namespace ashlar::pnode
