#include "common/fit/client_slots.h"

#include <algorithm>

#include "common/base/check.h"

namespace ashlar::fit {

ClientSlots::ClientSlots(std::uint16_t slots, std::uint16_t bulk_slots, std::uint64_t first_sequence)
    : slots_(slots), expected_(slots), first_sequence_(first_sequence) {
  Limit(slots, bulk_slots);
}

void ClientSlots::Limit(std::uint32_t slots, std::uint32_t bulk_slots) {
  limit_ = std::min<std::uint32_t>(slots, size());
  bulk_limit_ = std::min(bulk_slots, limit_);
  free_plain_.clear();
  free_bulk_.clear();
  for (std::uint32_t i = limit_; i-- > 0;)  // the lowest on top
    if (slots_[i].state == SlotState::kFree)
      (i < bulk_limit_ ? free_bulk_ : free_plain_).push_back(static_cast<std::uint16_t>(i));
}

// Reads, trims and fences never queue behind writes that wait for a disk.
bool ClientSlots::MayWrite(bool needs_bulk) const {
  std::uint32_t most = limit_ > 8 ? limit_ - 8 : 1;
  std::uint32_t most_bulk = bulk_limit_ > 2 ? bulk_limit_ - 2 : 1;
  return writes_ < most && (!needs_bulk || bulk_writes_ < most_bulk);
}

std::uint16_t ClientSlots::Take(Call& call) {
  bool is_write = call.info->is_write;
  bool needs_bulk = call.NeedsBulkSlot();
  if (is_write && !MayWrite(needs_bulk)) return kNoSlot;
  std::vector<std::uint16_t>* from = &free_bulk_;
  if (!needs_bulk && !free_plain_.empty()) from = &free_plain_;
  // The last bulk slots are not for calls that could do without.
  if (!needs_bulk && from == &free_bulk_ && is_write && !MayWrite(true)) return kNoSlot;
  if (from->empty()) return kNoSlot;
  std::uint16_t index = from->back();
  from->pop_back();
  Apply(index, SlotEvent::kPost);
  ClientSlot& slot = slots_[index];
  slot.call = &call;
  slot.is_write = is_write;
  slot.is_bulk_write = is_write && index < bulk_limit_;
  writes_ += slot.is_write;
  bulk_writes_ += slot.is_bulk_write;
  SlotExpectation& expected = expected_[index];
  expected.sequence = expected.sequence == 0 ? first_sequence_ : expected.sequence + 1;
  expected.opcode = static_cast<std::uint16_t>(call.info->opcode);
  call.slot = index;
  return index;
}

void ClientSlots::Apply(std::uint16_t index, SlotEvent event) {
  ClientSlot& slot = slots_[index];
  std::optional<SlotState> next = Next(slot.state, event);
  ASHLAR_CHECK(next.has_value(), "slot={} state={} event={}", index, static_cast<int>(slot.state), static_cast<int>(event));
  quarantined_ += (*next == SlotState::kQuarantined) - (slot.state == SlotState::kQuarantined);
  slot.state = *next;
  expected_[index].open = slot.state == SlotState::kSent || slot.state == SlotState::kQuarantined;
  if (slot.state == SlotState::kSent) ++in_use_;
  else slot.call = nullptr;
  if (slot.state != SlotState::kFree) return;
  ASHLAR_CHECK(slot.work_requests == 0, "a free slot's buffer belongs to nobody; slot={}", index);
  --in_use_;
  writes_ -= slot.is_write;
  bulk_writes_ -= slot.is_bulk_write;
  slot.is_write = slot.is_bulk_write = false;
  if (index < limit_) (index < bulk_limit_ ? free_bulk_ : free_plain_).push_back(index);
}

}  // namespace ashlar::fit
