#include "daemons/snode/replica_log/trim_floors.h"

#include <algorithm>
#include <iterator>
#include <limits>

namespace ashlar::snode {

void TrimFloors::Add(PageNumber first, std::uint64_t count, Version upto, std::uint64_t written_seq) {
  const std::uint64_t begin = first.value();
  const std::uint64_t room = std::numeric_limits<std::uint64_t>::max() - begin;
  const std::uint64_t end = begin + std::min(count, room);
  SplitAt(begin);
  SplitAt(end);
  std::uint64_t covered = begin;  // [begin, covered) is done
  for (auto it = ranges_.lower_bound(begin); covered < end;) {
    if (it == ranges_.end() || it->first > covered) {  // a gap
      const std::uint64_t gap_end = it == ranges_.end() ? end : std::min(end, it->first);
      it = std::next(ranges_.insert_or_assign(covered, Range{gap_end, upto, written_seq}).first);
      covered = gap_end;
      continue;
    }
    it->second.upto = std::max(it->second.upto, upto);
    it->second.written_seq = std::max(it->second.written_seq, written_seq);
    covered = it->second.end;
    ++it;
  }
  // Equal neighbours become one, so that a program that frees page by page keeps one range.
  auto it = ranges_.lower_bound(begin);
  if (it != ranges_.begin()) --it;
  while (it != ranges_.end() && it->first <= end) {
    auto next = std::next(it);
    const bool joins = next != ranges_.end() && next->first == it->second.end && next->second.upto == it->second.upto &&
                       next->first <= end;
    if (!joins) {
      it = next;
      continue;
    }
    it->second.end = next->second.end;
    it->second.written_seq = std::max(it->second.written_seq, next->second.written_seq);
    ranges_.erase(next);
  }
}

Version TrimFloors::At(PageNumber page) const {
  auto it = ranges_.upper_bound(page.value());
  if (it == ranges_.begin()) return Version(0);
  --it;
  return page.value() < it->second.end ? it->second.upto : Version(0);
}

void TrimFloors::ForgetBefore(std::uint64_t seq) {
  std::erase_if(ranges_, [seq](const auto& range) { return range.second.written_seq < seq; });
}

void TrimFloors::SplitAt(std::uint64_t page) {
  auto it = ranges_.upper_bound(page);
  if (it == ranges_.begin()) return;
  --it;
  if (it->first == page || it->second.end <= page) return;
  Range tail = it->second;
  it->second.end = page;
  ranges_.emplace(page, tail);
}

}  // namespace ashlar::snode
