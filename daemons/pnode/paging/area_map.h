// Which addresses of one process are managed, and which page numbers they carry. Pages are numbers of the space, not
// addresses: mremap edits this map and moves no remote byte, and a new mapping at an old address has new numbers.
//
// Threads: one at a time (the owner). No I/O. Addresses and lengths are page-aligned.
// Invariant: areas overlap neither in addresses nor in page numbers.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "common/base/ids.h"
#include "daemons/pnode/injection/address_range.h"
#include "daemons/pnode/paging/stream_detector.h"

namespace ashlar::pnode {

struct PageRange {
  PageNumber first;
  std::uint64_t count = 0;
  friend bool operator==(const PageRange&, const PageRange&) = default;
};

struct Area {
  AddressRange range;
  PageNumber first_page;
  StreamDetector stream;         // of fetches
  StreamDetector first_touches;  // of writes to new pages

  PageNumber PageOf(std::uint64_t address) const {
    return PageNumber(first_page.value() + (address - range.start) / kPageBytes);
  }
  std::uint64_t end_page() const { return first_page.value() + range.size() / kPageBytes; }
};

class AreaMap {
 public:
  AreaMap() = default;
  AreaMap(const AreaMap&) = default;  // a fork
  AreaMap& operator=(const AreaMap&) = default;

  // nullptr: not managed. The pointer holds until the next change.
  Area* Find(std::uint64_t address);
  // Where the page is now; nullopt: unmapped.
  std::optional<std::uint64_t> AddressOf(PageNumber page) const;
  // The area that ends exactly there, for growing it.
  const Area* FindEndingAt(std::uint64_t address) const;

  // The range must be free of areas. Joined with the neighbour below when numbers and addresses both go on.
  void Insert(AddressRange range, PageNumber first_page);
  // Forgets the range; returns the pages that were in it.
  std::vector<PageRange> Cut(AddressRange range);
  // The same, as areas, to be placed elsewhere.
  std::vector<Area> Take(AddressRange range);
  // Its range must be free of areas. Joined with no neighbour.
  void Place(Area area);

  // What is managed in the range, clipped to it, in order.
  std::vector<Area> Within(AddressRange range) const;
  // The parts of the range that no area covers, in order.
  std::vector<AddressRange> Gaps(AddressRange range) const;

  std::size_t size() const { return areas_.size(); }
  const std::map<std::uint64_t, Area>& areas() const { return areas_; }  // by start

 private:
  void Erase(std::map<std::uint64_t, Area>::iterator position);

  std::map<std::uint64_t, Area> areas_;                  // by start address
  std::map<std::uint64_t, std::uint64_t> start_of_page_;  // first page → start address
};

}  // namespace ashlar::pnode
