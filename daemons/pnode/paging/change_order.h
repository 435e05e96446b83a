// Changes of one address space in the order in which they happened, as far as it matters. 10-paging §12.
//
// The kernel changes the map first and tells of it later: UNMAP and REMAP are queued by the changing thread after it has let
// go of the map's lock, and a REMAP is followed by an UNMAP of the old place. Meanwhile another thread may get the place that
// became free, move something there, and have its event read first. Read in that order, the newcomer would be dropped with
// the pages that had left. (userfaultfd(2); mm/mremap.c, fs/userfaultfd.c.)
//
// Two facts make it decidable. While an event is outstanding, fills and moves answer EAGAIN: so events can be gathered until
// the kernel says that nothing is outstanding, and nothing is lost by waiting. And nobody moves memory to a place that is
// still occupied without an UNMAP of it first: what our map shows at a REMAP's destination has left already, and the event
// that says where to comes later in the same batch. Such pages wait in limbo for it. The UNMAP behind a REMAP says nothing new
// and is left out.
//
// Assumption: no thread changes a range that another thread's call is just changing. A program that does is in a race with
// itself; it is recognised when the outcome can't be known (Finish).
//
// Threads: the owner's. Pure: no I/O.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "daemons/pnode/paging/area_map.h"
#include "daemons/pnode/paging/fault_source.h"

namespace ashlar::pnode {

// One batch as it is to be applied.
struct OrderedChange {
  enum class Kind : std::uint8_t { kRemove, kUnmap, kRemap, kFork };
  Kind kind;
  AddressRange range;     // of a REMAP: what was moved
  std::uint64_t to = 0;
  std::size_t index = 0;  // in the batch
};
// Leaves out the UNMAPs of what REMAPs have moved. Before Linux 6.17 the REMAP of a move that also shrank names the old length;
// it is cut to what was moved.
std::vector<OrderedChange> WithoutTrailing(std::span<const MemoryEvent> changes);

// Ranges that something was moved to and that an event read later says to be unmapped: that event may be older than the move.
// Whether they are mapped now decides.
std::vector<AddressRange> RangesInDispute(std::span<const OrderedChange> changes);

// What a new child's memory had registered when its FORK was read.
struct ForkSeen {
  std::size_t index = 0;                 // of the FORK in the batch
  std::vector<AddressRange> looked_at;   // what its parent had managed, and where something was moved to before the FORK was read
  std::vector<AddressRange> registered;  // of that, when the child began
  std::vector<MemoryEvent> child_events; // what the child did meanwhile, to be applied to it when it is known
  bool known = true;                     // false: the child has moved something to a place that was to be examined
  bool looked = false;                   // all of looked_at was examined
};
// Which of the parent's changes the child has: a REMOVE that was read before, an UNMAP or REMAP when the child has nothing at
// that place, or what could get there only afterwards. `areas`: before the batch. `known` becomes false where two could be meant.
std::vector<bool> WhatHappenedBefore(const AreaMap& areas, std::span<const OrderedChange> changes, const ForkSeen& fork, bool& known);

// Applies one gathered batch to `areas`. Calls come in the order of reading, then Finish.
class ChangeOrder {
 public:
  // These pages are not in the program any more; `unmapped`: nor is their place.
  using Drop = absl::FunctionRef<void(PageRange pages, bool unmapped)>;

  // `alive`: those parts of RangesInDispute that the kernel says are mapped and registered. `areas` and `drop` outlive this.
  ChangeOrder(AreaMap& areas, std::vector<AddressRange> alive, Drop drop) : areas_(areas), alive_(std::move(alive)), drop_(drop) {}

  void Remove(AddressRange range);
  void Unmap(AddressRange range);
  void Remap(AddressRange from, std::uint64_t to);
  // False: the same range was left twice, and which pages were moved can't be known.
  [[nodiscard]] bool Finish();

  // Areas whose place was taken by something else, and nothing said yet where they went.
  std::uint64_t in_limbo() const { return limbo_.size(); }
  // How many events were read behind one that came after them.
  std::uint64_t overtaken() const { return overtaken_; }

 private:
  struct Left {  // something was moved here before we knew that the former pages had left
    AddressRange range;
    int unmaps = 0, moves = 0;  // read since
  };

  void NoteLeaving(AddressRange range, bool moves);
  // Takes what waits in limbo for the range, oldest first, and says which parts of the range nothing waited for.
  std::vector<AddressRange> TakeFromLimbo(AddressRange range, std::vector<Area>& taken);

  AreaMap& areas_;
  const std::vector<AddressRange> alive_;
  Drop drop_;
  std::vector<Area> limbo_;  // oldest first
  std::vector<Left> left_;
  std::vector<AddressRange> placed_;  // destinations in this batch
  std::vector<AddressRange> cut_;     // parts of them that were unmapped again
  bool known_ = true;
  std::uint64_t overtaken_ = 0;
};

}  // namespace ashlar::pnode
