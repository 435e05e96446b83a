// The client's slots: which are free, what each waits for, and how many calls that write may hold. Pure bookkeeping.
#pragma once

#include <cstdint>
#include <vector>

#include "common/fit/call_queue.h"
#include "common/fit/slot_state.h"
#include "common/fit/validate.h"

namespace ashlar::fit {

struct ClientSlot {
  SlotState state = SlotState::kFree;
  Call* call = nullptr;             // kSent only
  bool is_write = false, is_bulk_write = false;
  std::uint32_t work_requests = 0;  // that name the out-buffer
};

class ClientSlots {
 public:
  // `first_sequence`: above all that an earlier connection of this process used, so that no server takes a new call for
  // an old one.
  ClientSlots(std::uint16_t slots, std::uint16_t bulk_slots, std::uint64_t first_sequence);

  // What the peer's arena and ours both have. Slots beyond are not given out.
  void Limit(std::uint32_t slots, std::uint32_t bulk_slots);

  // A free slot for the call, now kSent; kNoSlot if its lane has none. Its sequence is the next one.
  std::uint16_t Take(Call& call);
  // Acts on one slot; a transition to kFree gives it back.
  void Apply(std::uint16_t slot, SlotEvent event);

  ClientSlot& at(std::uint16_t slot) { return slots_[slot]; }
  std::uint64_t sequence(std::uint16_t slot) const { return expected_[slot].sequence; }
  std::span<const SlotExpectation> expected() const { return expected_; }
  std::uint16_t size() const { return static_cast<std::uint16_t>(slots_.size()); }
  std::uint32_t limit() const { return limit_; }
  std::uint32_t in_use() const { return in_use_; }
  std::uint32_t quarantined() const { return quarantined_; }

 private:
  bool MayWrite(bool needs_bulk) const;

  std::vector<ClientSlot> slots_;
  std::vector<SlotExpectation> expected_;
  std::vector<std::uint16_t> free_plain_, free_bulk_;
  std::uint64_t first_sequence_ = 1;
  std::uint32_t limit_ = 0, bulk_limit_ = 0;
  std::uint32_t in_use_ = 0, quarantined_ = 0;
  std::uint32_t writes_ = 0, bulk_writes_ = 0;  // slots held by calls that write; those of them among the bulk slots
};

}  // namespace ashlar::fit
