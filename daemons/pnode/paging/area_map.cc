#include "daemons/pnode/paging/area_map.h"

#include <algorithm>
#include <iterator>

#include "common/base/check.h"

namespace ashlar::pnode {

Area* AreaMap::Find(std::uint64_t address) {
  auto above = areas_.upper_bound(address);
  if (above == areas_.begin()) return nullptr;
  Area& area = std::prev(above)->second;
  return address < area.range.end ? &area : nullptr;
}

std::optional<std::uint64_t> AreaMap::AddressOf(PageNumber page) const {
  auto above = start_of_page_.upper_bound(page.value());
  if (above == start_of_page_.begin()) return std::nullopt;
  const Area& area = areas_.at(std::prev(above)->second);
  if (page.value() >= area.end_page()) return std::nullopt;
  return area.range.start + (page.value() - area.first_page.value()) * kPageBytes;
}

const Area* AreaMap::FindEndingAt(std::uint64_t address) const {
  auto at = areas_.lower_bound(address);
  if (at == areas_.begin()) return nullptr;
  const Area& area = std::prev(at)->second;
  return area.range.end == address ? &area : nullptr;
}

void AreaMap::Place(Area area) {
  start_of_page_[area.first_page.value()] = area.range.start;
  areas_.insert_or_assign(area.range.start, area);
}

void AreaMap::Erase(std::map<std::uint64_t, Area>::iterator position) {
  start_of_page_.erase(position->second.first_page.value());
  areas_.erase(position);
}

void AreaMap::Insert(AddressRange range, PageNumber first_page) {
  ASHLAR_CHECK(range.start < range.end, "an area has a size; start={:x} end={:x}", range.start, range.end);
  auto gaps = Gaps(range);
  ASHLAR_CHECK(gaps.size() == 1 && gaps[0] == range, "areas may not overlap; start={:x} end={:x}", range.start, range.end);
  Area area{range, first_page, {}};
  if (const Area* below = FindEndingAt(range.start); below != nullptr && below->end_page() == first_page.value()) {
    area.first_page = below->first_page;
    area.range.start = below->range.start;
    area.stream = below->stream;
    Erase(areas_.find(below->range.start));
  }
  Place(area);
}

std::vector<Area> AreaMap::Take(AddressRange range) {
  std::vector<Area> taken;
  auto it = areas_.upper_bound(range.start);
  if (it != areas_.begin()) --it;
  while (it != areas_.end() && it->second.range.start < range.end) {
    Area area = it->second;
    if (area.range.end <= range.start) {
      ++it;
      continue;
    }
    auto next = std::next(it);
    Erase(it);
    it = next;
    AddressRange inside{std::max(area.range.start, range.start), std::min(area.range.end, range.end)};
    if (area.range.start < inside.start) Place(Area{{area.range.start, inside.start}, area.first_page, area.stream});
    if (inside.end < area.range.end) Place(Area{{inside.end, area.range.end}, area.PageOf(inside.end), area.stream});
    taken.push_back(Area{inside, area.PageOf(inside.start), area.stream});
  }
  return taken;
}

std::vector<PageRange> AreaMap::Cut(AddressRange range) {
  std::vector<PageRange> pages;
  for (const Area& area : Take(range)) pages.push_back({area.first_page, area.range.size() / kPageBytes});
  return pages;
}

std::vector<Area> AreaMap::Within(AddressRange range) const {
  std::vector<Area> found;
  auto it = areas_.upper_bound(range.start);
  if (it != areas_.begin()) --it;
  for (; it != areas_.end() && it->second.range.start < range.end; ++it) {
    const Area& area = it->second;
    if (area.range.end <= range.start) continue;
    AddressRange inside{std::max(area.range.start, range.start), std::min(area.range.end, range.end)};
    found.push_back(Area{inside, area.PageOf(inside.start), area.stream, area.first_touches});
  }
  return found;
}

std::vector<AddressRange> AreaMap::Gaps(AddressRange range) const {
  std::vector<AddressRange> gaps;
  std::uint64_t cursor = range.start;
  auto it = areas_.upper_bound(range.start);
  if (it != areas_.begin()) --it;
  for (; it != areas_.end() && it->second.range.start < range.end; ++it) {
    const AddressRange& area = it->second.range;
    if (area.end <= cursor) continue;
    if (area.start > cursor) gaps.push_back({cursor, area.start});
    cursor = area.end;
  }
  if (cursor < range.end) gaps.push_back({cursor, range.end});
  return gaps;
}

}  // namespace ashlar::pnode
