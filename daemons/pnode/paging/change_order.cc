#include "daemons/pnode/paging/change_order.h"

#include <algorithm>

namespace ashlar::pnode {
namespace {

AddressRange Common(AddressRange a, AddressRange b) { return {std::max(a.start, b.start), std::min(a.end, b.end)}; }
bool Meet(AddressRange a, AddressRange b) { return a.start < b.end && b.start < a.end; }

// Splits `ranges` by `other`: what is outside stays, what is inside goes to `inside`.
std::vector<AddressRange> Split(const std::vector<AddressRange>& ranges, AddressRange other, std::vector<AddressRange>& inside) {
  std::vector<AddressRange> outside;
  for (const AddressRange& range : ranges) {
    if (!Meet(range, other)) {
      outside.push_back(range);
      continue;
    }
    AddressRange common = Common(range, other);
    if (range.start < common.start) outside.push_back({range.start, common.start});
    if (common.end < range.end) outside.push_back({common.end, range.end});
    inside.push_back(common);
  }
  return outside;
}

Area PartOf(const Area& area, AddressRange range) { return Area{range, area.PageOf(range.start), area.stream, area.first_touches}; }
PageRange PagesOf(const Area& area) { return {area.first_page, area.range.size() / kPageBytes}; }

// The first UNMAP of exactly this range that is not taken yet; the size: none.
std::size_t FindUnmap(std::span<const MemoryEvent> changes, std::size_t from, AddressRange range, const std::vector<bool>& taken) {
  for (std::size_t i = from; i < changes.size(); ++i) {
    if (changes[i].kind == MemoryEvent::Kind::kUnmap && changes[i].range == range && !taken[i]) return i;
  }
  return changes.size();
}

AddressRange MovedRange(std::span<const MemoryEvent> changes, std::size_t index) {
  const AddressRange whole = changes[index].range;
  const std::vector<bool> none(changes.size());
  for (const MemoryEvent& tail : changes.subspan(index + 1)) {
    if (tail.kind != MemoryEvent::Kind::kUnmap || tail.range.end != whole.end || tail.range.start <= whole.start) continue;
    AddressRange kept{whole.start, tail.range.start};
    if (FindUnmap(changes, index + 1, kept, none) < changes.size()) return kept;
  }
  return whole;
}

}  // namespace

std::vector<OrderedChange> WithoutTrailing(std::span<const MemoryEvent> changes) {
  std::vector<OrderedChange> ordered;
  std::vector<bool> trailing(changes.size());
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const MemoryEvent& change = changes[i];
    if (trailing[i] || change.kind == MemoryEvent::Kind::kFault) continue;
    switch (change.kind) {
      case MemoryEvent::Kind::kFault: break;
      case MemoryEvent::Kind::kRemove: ordered.push_back({OrderedChange::Kind::kRemove, change.range, 0, i}); break;
      case MemoryEvent::Kind::kUnmap: ordered.push_back({OrderedChange::Kind::kUnmap, change.range, 0, i}); break;
      case MemoryEvent::Kind::kFork: ordered.push_back({OrderedChange::Kind::kFork, {}, 0, i}); break;
      case MemoryEvent::Kind::kRemap: {
        AddressRange moved = MovedRange(changes, i);
        std::size_t unmap = FindUnmap(changes, i + 1, moved, trailing);
        if (unmap < changes.size()) trailing[unmap] = true;
        ordered.push_back({OrderedChange::Kind::kRemap, moved, change.to, i});
        break;
      }
    }
  }
  return ordered;
}

std::vector<AddressRange> RangesInDispute(std::span<const OrderedChange> changes) {
  std::vector<AddressRange> placed, disputed;
  for (const OrderedChange& change : changes) {
    if (change.kind == OrderedChange::Kind::kRemap) {
      placed.push_back({change.to, change.to + change.range.size()});
    } else if (change.kind == OrderedChange::Kind::kUnmap) {
      for (const AddressRange& place : placed) {
        if (Meet(change.range, place)) disputed.push_back(Common(change.range, place));
      }
    }
  }
  return disputed;
}

std::vector<bool> WhatHappenedBefore(const AreaMap& areas, std::span<const OrderedChange> changes, const ForkSeen& fork, bool& known) {
  auto contains = [](const std::vector<AddressRange>& ranges, std::uint64_t address) {
    return std::any_of(ranges.begin(), ranges.end(), [&](AddressRange range) { return range.start <= address && address < range.end; });
  };
  auto leaves = [](const OrderedChange& change) {
    return change.kind == OrderedChange::Kind::kUnmap || change.kind == OrderedChange::Kind::kRemap;
  };
  std::vector<bool> happened(changes.size());
  for (std::size_t i = 0; i < changes.size(); ++i) {
    const OrderedChange& change = changes[i];
    if (change.kind == OrderedChange::Kind::kRemove) happened[i] = change.index < fork.index;
    if (!leaves(change)) continue;
    // One managed page of the range tells of all: they left together.
    std::uint64_t witness = change.range.start;
    if (std::vector<Area> there = areas.Within(change.range); !there.empty()) witness = there[0].range.start;
    if (contains(fork.looked_at, witness)) {
      happened[i] = !contains(fork.registered, witness);
    } else {
      for (const OrderedChange& other : changes) {  // nothing was managed there, unless it was moved there in this batch
        if (other.kind == OrderedChange::Kind::kRemap && Meet(change.range, {other.to, other.to + other.range.size()})) known = false;
      }
    }
  }
  // What was moved to a place says that its former pages had left, though the place is registered.
  for (bool more = true; more;) {
    more = false;
    for (std::size_t i = 0; i < changes.size(); ++i) {
      if (!happened[i] || changes[i].kind != OrderedChange::Kind::kRemap) continue;
      const AddressRange place{changes[i].to, changes[i].to + changes[i].range.size()};
      if (areas.Within(place).empty()) continue;
      int leavings = 0;
      for (std::size_t k = 0; k < changes.size(); ++k) {
        if (!leaves(changes[k]) || !Meet(changes[k].range, place)) continue;
        ++leavings;
        more |= !happened[k];
        happened[k] = true;
      }
      known &= leavings <= 1;
    }
  }
  return happened;
}

void ChangeOrder::NoteLeaving(AddressRange range, bool moves) {
  for (Left& left : left_) {
    if (!Meet(left.range, range)) continue;
    ++(moves ? left.moves : left.unmaps);
  }
}

std::vector<AddressRange> ChangeOrder::TakeFromLimbo(AddressRange range, std::vector<Area>& taken) {
  std::vector<AddressRange> rest{range};
  std::vector<Area> kept;
  for (const Area& area : limbo_) {
    std::vector<AddressRange> inside;
    rest = Split(rest, area.range, inside);
    std::vector<AddressRange> stays{area.range};
    for (const AddressRange& part : inside) {
      taken.push_back(PartOf(area, part));
      ++overtaken_;
      std::vector<AddressRange> gone;
      stays = Split(stays, part, gone);
    }
    for (const AddressRange& part : stays) kept.push_back(PartOf(area, part));
  }
  limbo_ = std::move(kept);
  return rest;
}

void ChangeOrder::Remove(AddressRange range) {
  for (const Area& area : areas_.Within(range)) drop_(PagesOf(area), false);
}

void ChangeOrder::Unmap(AddressRange range) {
  NoteLeaving(range, /*moves=*/false);
  std::vector<Area> late;
  std::vector<AddressRange> rest = TakeFromLimbo(range, late);
  for (const Area& area : late) drop_(PagesOf(area), true);
  // Of what was moved here in this batch, that which is still here came after this event.
  std::vector<AddressRange> here, newer;
  for (const AddressRange& place : placed_) rest = Split(rest, place, here);
  for (const AddressRange& part : alive_) here = Split(here, part, newer);
  overtaken_ += newer.size();
  rest.insert(rest.end(), here.begin(), here.end());
  cut_.insert(cut_.end(), here.begin(), here.end());
  for (const AddressRange& part : rest) {
    for (const PageRange& pages : areas_.Cut(part)) drop_(pages, true);
  }
}

void ChangeOrder::Remap(AddressRange from, std::uint64_t to) {
  NoteLeaving(from, /*moves=*/true);
  for (const AddressRange& part : cut_) known_ &= !Meet(part, from);
  std::vector<Area> moving;
  for (const AddressRange& part : TakeFromLimbo(from, moving)) {
    for (Area& area : areas_.Take(part)) moving.push_back(area);
  }
  AddressRange destination{to, to + from.size()};
  for (Area& area : areas_.Take(destination)) {
    left_.push_back({area.range});
    limbo_.push_back(area);
  }
  for (Area& area : moving) {
    area.range = {area.range.start - from.start + to, area.range.end - from.start + to};
    areas_.Place(area);
  }
  placed_.push_back(destination);
}

bool ChangeOrder::Finish() {
  // Nothing said that they left: they were not there, whatever our map said.
  for (const Area& area : limbo_) drop_(PagesOf(area), true);
  limbo_.clear();
  return known_ && std::all_of(left_.begin(), left_.end(),
                               [](const Left& left) { return left.moves == 0 || left.moves + left.unmaps == 1; });
}

}  // namespace ashlar::pnode
