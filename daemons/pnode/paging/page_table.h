// What is known of every page of one space: 16 bytes each, in chunks of 4 MiB of the space, present only where areas are.
//
// Threads: one at a time (the owner). The memory is locked, private to the daemon, never managed.
// Invariant: a page number is given out once, so a chunk that lost its last area is freed for good.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/base/ids.h"
#include "daemons/pnode/paging/page_state.h"

namespace ashlar::pnode {

struct PageEntry {
  static constexpr unsigned kPinned = 1;     // never chosen for eviction
  static constexpr unsigned kHashValid = 2;  // `hash` is that of `version`'s bytes, and `version` was sent or is in a slot

  static constexpr unsigned kReturnsShift = 2, kMaxReturns = 7;

  std::uint64_t version : 48;  // the last one given out; 0 = none yet. Kept across drops, so that newest is decidable
  std::uint64_t state : 4;     // PageState
  std::uint64_t flags : 12;
  // kResident: index in the resident set; kStaged: victim slot; kFetching: fetch index; kRemote: how many pages had been
  // evicted when it left, 0 = not known
  std::uint32_t link;
  std::uint32_t hash;  // low 32 bits of the content hash

  PageState page_state() const { return static_cast<PageState>(state); }
  void set_state(PageState next) { state = static_cast<std::uint64_t>(next) & 0xf; }
  bool has(unsigned flag) const { return (flags & flag) != 0; }
  void set(unsigned flag) { flags = (flags | flag) & 0xfff; }
  void clear(unsigned flag) { flags = flags & ~std::uint64_t{flag} & 0xfff; }
  // How often in a row it came back soon after its eviction (Arrival::returns).
  std::uint8_t returns() const { return static_cast<std::uint8_t>(flags >> kReturnsShift & kMaxReturns); }
  void set_returns(std::uint8_t returns) {
    flags = ((flags & ~std::uint64_t{kMaxReturns << kReturnsShift}) | (std::min<unsigned>(returns, kMaxReturns) << kReturnsShift)) & 0xfff;
  }
};
static_assert(sizeof(PageEntry) == 16);

class PageTable {
 public:
  PageTable() = default;
  PageTable(PageTable&&) = default;
  PageTable& operator=(PageTable&&) = default;
  ~PageTable();

  // Entries for [first, first + count), all zero (state kZero). Each page is added once and released at most once.
  void Add(PageNumber first, std::uint64_t count);
  void Release(PageNumber first, std::uint64_t count);

  // nullptr: the page is in no area.
  PageEntry* Find(PageNumber page) {
    std::uint64_t extent = ExtentOf(page);
    if (extent >= chunks_.size() || chunks_[extent].entries == nullptr) return nullptr;
    return &chunks_[extent].entries[page.value() % kExtentPages];
  }

  PageTable Clone() const;
  // Calls `visit(PageNumber, PageEntry&)` for the entries of every chunk.
  template <typename Visit>
  void ForEach(Visit&& visit) {
    for (std::size_t extent = 0; extent < chunks_.size(); ++extent) {
      if (chunks_[extent].entries == nullptr) continue;
      for (std::size_t i = 0; i < kExtentPages; ++i) visit(PageNumber(extent * kExtentPages + i), chunks_[extent].entries[i]);
    }
  }
  std::size_t bytes() const { return chunk_count_ * kChunkBytes; }

 private:
  static constexpr std::size_t kChunkBytes = kExtentPages * sizeof(PageEntry);
  struct Chunk {
    PageEntry* entries = nullptr;
    std::uint32_t live = 0;  // pages added and not released
  };
  static PageEntry* NewChunk();
  static void FreeChunk(PageEntry* entries);

  std::vector<Chunk> chunks_;  // [extent]
  std::size_t chunk_count_ = 0;
};

}  // namespace ashlar::pnode
