#include "daemons/snode/replica_log/page_index.h"

#include <algorithm>

#include "common/base/check.h"

namespace ashlar::snode {
namespace {

constexpr std::uint64_t LiveBytes(bool has_data) { return sizeof(disk::Entry) + (has_data ? disk::kBlockBytes : 0); }

}  // namespace

VersionVerdict PageIndex::Apply(const disk::Entry& entry, std::uint32_t segment, std::uint64_t written_seq,
                                const OpenRecord* open) {
  std::unique_ptr<SpaceRecord>& slot = spaces_[SpaceId(entry.space)];
  if (slot == nullptr) slot = std::make_unique<SpaceRecord>();
  SpaceRecord& space = *slot;
  space.era = std::max(space.era, entry.era);
  switch (entry.kind) {
    case disk::EntryKind::kPage:
    case disk::EntryKind::kZero:
      return ApplyPage(space, entry, segment);
    case disk::EntryKind::kLost:
      return ApplyLost(space, entry, segment);
    case disk::EntryKind::kTrim:
      ++segments_.at(segment).hiding_entries;
      ApplyTrim(space, entry, written_seq);
      return VersionVerdict::kTake;
    case disk::EntryKind::kOpen:
      ASHLAR_CHECK(open != nullptr, "an open entry comes with its record");
      ApplyOpen(space, entry, segment, *open);
      return VersionVerdict::kTake;
    case disk::EntryKind::kEnd:
      ++segments_.at(segment).hiding_entries;
      ApplyEnd(space, written_seq);
      return VersionVerdict::kTake;
    case disk::EntryKind::kClone:
    case disk::EntryKind::kSnapshot:
    case disk::EntryKind::kDrop:
    case disk::EntryKind::kWritten:
      break;
  }
  ASHLAR_CHECK(false, "entry kind {} is refused before it comes here", static_cast<int>(entry.kind));
  return VersionVerdict::kSuperseded;
}

VersionVerdict PageIndex::ApplyPage(SpaceRecord& space, const disk::Entry& entry, std::uint32_t segment) {
  const PageNumber page(entry.page);
  const VersionMark arriving{Version(entry.version), entry.crc};
  const VersionVerdict verdict = Judge(space, page, arriving);
  // The same version again is a cleaner's copy or a resend: the newer place is the one that stays.
  if (verdict != VersionVerdict::kTake && verdict != VersionVerdict::kAlready) return verdict;
  auto [it, inserted] = space.pages.try_emplace(entry.page);
  if (inserted) {
    ++page_count_;
    ++space.extents[ExtentOf(page)];
  } else {
    Drop(it->second);
    bad_page_count_ -= space.bad_pages.erase(entry.page);
  }
  it->second = {.version = arriving.version,
                .era = entry.era,
                .crc = entry.crc,
                .segment = segment,
                .epoch = entry.epoch,
                .block = entry.block};
  segments_.AddLive(segment, LiveBytes(!it->second.zero()));
  return verdict;
}

// `count` names the segment its bytes were lost in: the same version may have been sent again meanwhile, and stand
// elsewhere.
VersionVerdict PageIndex::ApplyLost(SpaceRecord& space, const disk::Entry& entry, std::uint32_t segment) {
  const PageNumber page(entry.page);
  const auto held = space.pages.find(entry.page);
  const bool lost_here = held != space.pages.end() && held->second.version == Version(entry.version) && held->second.segment == entry.count;
  const bool higher = held == space.pages.end() || held->second.version < Version(entry.version);
  if (space.ended || Version(entry.version) <= space.floors.At(page) || !(lost_here || higher)) return VersionVerdict::kSuperseded;
  if (held == space.pages.end()) {
    ++page_count_;
    ++space.extents[ExtentOf(page)];
  } else {
    Drop(held->second);
  }
  space.pages[entry.page] = {.version = Version(entry.version), .era = entry.era, .crc = 0, .segment = segment, .epoch = entry.epoch, .block = 0, .bad = true};
  if (space.bad_pages.insert(entry.page).second) ++bad_page_count_;
  segments_.AddLive(segment, LiveBytes(false));
  return VersionVerdict::kTake;
}

void PageIndex::ApplyTrim(SpaceRecord& space, const disk::Entry& entry, std::uint64_t written_seq) {
  if (space.ended) return;
  const Version upto(entry.version);
  space.floors.Add(PageNumber(entry.page), entry.count, upto, written_seq);
  const auto drop = [&](auto it) {
    Drop(it->second);
    Forget(space, it->first);
    space.pages.erase(it);
  };
  if (entry.count < space.pages.size()) {
    for (std::uint64_t i = 0; i < entry.count; ++i)
      if (auto it = space.pages.find(entry.page + i); it != space.pages.end() && it->second.version <= upto) drop(it);
    return;
  }
  for (auto it = space.pages.begin(); it != space.pages.end();) {
    auto current = it++;
    if (current->first - entry.page < entry.count && current->second.version <= upto) drop(current);
  }
}

void PageIndex::ApplyOpen(SpaceRecord& space, const disk::Entry& entry, std::uint32_t segment, const OpenRecord& open) {
  if (space.ended || open.epoch < space.open.epoch) return;
  if (space.open.epoch == open.epoch && open.view < space.open.view) return;
  if (space.open.epoch != Epoch(0)) segments_.RemoveLive(space.open_segment, LiveBytes(true));
  space.open = open;
  space.open_segment = segment;
  space.open_block = entry.block;
  space.era = std::max(space.era, open.era);
  segments_.AddLive(segment, LiveBytes(true));
}

void PageIndex::ApplyEnd(SpaceRecord& space, std::uint64_t written_seq) {
  space.ended_seq = std::max(space.ended_seq, written_seq);
  if (space.ended) return;
  space.ended = true;
  for (const auto& [page, slot] : space.pages) Drop(slot);
  page_count_ -= space.pages.size();
  bad_page_count_ -= space.bad_pages.size();
  if (space.open.epoch != Epoch(0)) segments_.RemoveLive(space.open_segment, LiveBytes(true));
  space.pages = {};
  space.extents = {};
  space.bad_pages = {};
  space.floors = {};
}

void PageIndex::Drop(const PageSlot& slot) { segments_.RemoveLive(slot.segment, LiveBytes(slot.block != 0)); }

void PageIndex::Forget(SpaceRecord& space, std::uint64_t page) {
  --page_count_;
  const auto extent = space.extents.find(ExtentOf(PageNumber(page)));
  if (--extent->second == 0) space.extents.erase(extent);
  bad_page_count_ -= space.bad_pages.erase(page);
}

bool PageIndex::MarkBad(SpaceId space, PageNumber page, Version version) {
  const auto record = spaces_.find(space);
  if (record == spaces_.end()) return false;
  const auto slot = record->second->pages.find(page.value());
  if (slot == record->second->pages.end() || slot->second.version != version || slot->second.bad) return false;
  slot->second.bad = true;
  record->second->bad_pages.insert(page.value());
  ++bad_page_count_;
  return true;
}

const SpaceRecord* PageIndex::FindSpace(SpaceId space) const {
  auto it = spaces_.find(space);
  return it == spaces_.end() ? nullptr : it->second.get();
}

const PageSlot* PageIndex::FindPage(SpaceId space, PageNumber page) const {
  const SpaceRecord* record = FindSpace(space);
  if (record == nullptr) return nullptr;
  auto it = record->pages.find(page.value());
  return it == record->pages.end() ? nullptr : &it->second;
}

VersionVerdict PageIndex::Judge(const SpaceRecord& space, PageNumber page, VersionMark arriving) const {
  if (space.ended) return VersionVerdict::kSuperseded;
  auto it = space.pages.find(page.value());
  if (it == space.pages.end()) return JudgeVersion(arriving, nullptr, space.floors.At(page));
  const VersionMark held{it->second.version, it->second.crc};
  // The bytes are gone: the same version is as good as a higher one.
  if (it->second.bad && arriving.version == held.version) return VersionVerdict::kTake;
  return JudgeVersion(arriving, &held, space.floors.At(page));
}

bool PageIndex::IsLive(const disk::Entry& entry, std::uint32_t segment) const {
  const SpaceRecord* space = FindSpace(SpaceId(entry.space));
  if (space == nullptr || space->ended) return false;
  switch (entry.kind) {
    case disk::EntryKind::kPage:
    case disk::EntryKind::kZero:
    case disk::EntryKind::kLost: {
      auto it = space->pages.find(entry.page);
      return it != space->pages.end() && it->second.version == Version(entry.version) &&
             it->second.segment == segment && it->second.block == entry.block;
    }
    case disk::EntryKind::kOpen:
      return space->open.epoch != Epoch(0) && space->open_segment == segment && space->open_block == entry.block;
    default:
      return false;  // trims and ends live by another rule: SegmentTable::HidingEntryNeeded
  }
}

void PageIndex::ForgetHidden() {
  const std::uint64_t oldest = segments_.OldestSeq();
  const std::uint64_t first_needed = oldest > SegmentTable::kTrimSlack ? oldest - SegmentTable::kTrimSlack : 0;
  for (auto it = spaces_.begin(); it != spaces_.end();) {
    auto current = it++;
    SpaceRecord& space = *current->second;
    if (space.ended && space.ended_seq < first_needed)
      spaces_.erase(current);
    else
      space.floors.ForgetBefore(first_needed);
  }
}

}  // namespace ashlar::snode
