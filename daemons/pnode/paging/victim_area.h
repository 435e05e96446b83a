// The slots that evicted pages lie in: between the program and the home, and as a second chance after it. 10-paging §8.
//
//   free → filling → dirty → sending → clean → free        sending → orphan → free (the page moved on)
//
// A slot is filled again only when the write-back that names it has come back. The bytes are shared with the program,
// which can scribble over them: it can only harm its own pages. Indices never come from there.
// Threads: one at a time (the owner). No I/O, no allocation after construction.
// Invariants: each slot is in exactly one list; at most one slot per page is newest; only a sending slot is `older`.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "common/base/ids.h"
#include "daemons/pnode/paging/page_hash.h"

namespace ashlar::pnode {

enum class SlotState : std::uint8_t { kFree, kFilling, kDirty, kSending, kClean, kOrphan };
constexpr int kSlotStateCount = 6;

class VictimArea {
 public:
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  struct Slot {
    PageNumber page;
    Version version;
    PageHash hash;
    std::uint64_t since_ns = 0;  // when it became dirty
    SlotState state = SlotState::kFree;
    bool all_zero = false;
    bool blocked = false;  // dirty, but may not be sent yet: not in the dirty list
    std::uint32_t previous = kNone, next = kNone;  // in its state's list
    std::uint32_t bucket_next = kNone;             // newest slots only
  };

  explicit VictimArea(std::span<std::byte> bytes);

  std::uint32_t slot_count() const { return static_cast<std::uint32_t>(slots_.size()); }
  std::uint32_t count(SlotState state) const { return counts_[static_cast<std::size_t>(state)]; }
  // Slots that hold bytes somebody needs; the rest can be filled.
  std::uint32_t Available() const { return count(SlotState::kFree) + count(SlotState::kClean); }
  const Slot& slot(std::uint32_t index) const { return slots_[index]; }
  std::span<std::byte> bytes(std::uint32_t index) const { return bytes_.subspan(index * kPageBytes, kPageBytes); }
  std::span<std::byte> all_bytes() const { return bytes_; }

  // Takes a free slot, else the longest clean one. kNone: none. It is kFilling then.
  std::uint32_t Take();
  // kFilling → kFree.
  void Return(std::uint32_t index);
  // kFilling → kDirty: the newest slot of its page, at the end of the line. An older dirty one of that page is freed, an
  // older sending one orphaned; then the new one is blocked until OnSent of that one.
  struct Content {
    PageNumber page;
    Version version;
    PageHash hash;
    bool all_zero = false;
  };
  void MakeDirty(std::uint32_t index, const Content& content, std::uint64_t now_ns);
  // kFilling → kClean: bytes equal to what the home has. Any older slot of the page is given up like in MakeDirty.
  void MakeClean(std::uint32_t index, const Content& content);

  std::uint32_t Oldest(SlotState state) const { return heads_[static_cast<std::size_t>(state)]; }
  std::uint32_t NextOf(std::uint32_t index) const { return slots_[index].next; }
  void SetBlocked(std::uint32_t index, bool blocked);  // kDirty only
  void MakeSending(std::uint32_t index);               // kDirty → kSending
  // The write-back came back. kept: kSending → kClean; not kept: kSending → kDirty, first in line. kOrphan → kFree.
  void OnSent(std::uint32_t index, bool kept);

  // The newest slot of the page (dirty, sending or clean); kNone: none.
  std::uint32_t Find(PageNumber page) const;
  // The page moved on: dirty or clean → free, sending → orphan. No newest slot then.
  void Forget(PageNumber page);
  // Whether an orphan of the page is still under way.
  bool HasOrphan(PageNumber page) const;

 private:
  void Link(std::uint32_t index, SlotState state, bool at_front = false);
  void Unlink(std::uint32_t index);
  void Relink(std::uint32_t index, SlotState state, bool at_front = false);
  void AddToIndex(std::uint32_t index);
  void RemoveFromIndex(std::uint32_t index);
  std::uint32_t& BucketOf(PageNumber page) { return buckets_[(page.value() * 0x9E3779B97F4A7C15ull) >> bucket_shift_]; }

  std::span<std::byte> bytes_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> buckets_;  // newest slot by page, chained
  unsigned bucket_shift_;
  // Per list; blocked dirty slots are in none.
  std::array<std::uint32_t, kSlotStateCount> heads_, tails_, counts_{};
};

}  // namespace ashlar::pnode
