#include "daemons/pnode/paging/page_table.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "common/base/check.h"

namespace ashlar::pnode {

PageEntry* PageTable::NewChunk() {
  void* memory = mmap(nullptr, kChunkBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  ASHLAR_CHECK(memory != MAP_FAILED, "no memory for a page table chunk of {} bytes", kChunkBytes);
  (void)mlock(memory, kChunkBytes);  // best effort: prefaulted anyway
  return static_cast<PageEntry*>(memory);
}

void PageTable::FreeChunk(PageEntry* entries) { munmap(entries, kChunkBytes); }

PageTable::~PageTable() {
  for (Chunk& chunk : chunks_) {
    if (chunk.entries != nullptr) FreeChunk(chunk.entries);
  }
}

void PageTable::Add(PageNumber first, std::uint64_t count) {
  std::uint64_t end = first.value() + count;
  for (std::uint64_t page = first.value(); page < end;) {
    std::uint64_t extent = page / kExtentPages;
    std::uint64_t next = std::min(end, (extent + 1) * kExtentPages);
    if (extent >= chunks_.size()) chunks_.resize(extent + 1);
    Chunk& chunk = chunks_[extent];
    if (chunk.entries == nullptr) {
      chunk.entries = NewChunk();
      ++chunk_count_;
    }
    chunk.live += static_cast<std::uint32_t>(next - page);
    ASHLAR_CHECK(chunk.live <= kExtentPages, "a page was added twice; extent={} live={}", extent, chunk.live);
    page = next;
  }
}

void PageTable::Release(PageNumber first, std::uint64_t count) {
  std::uint64_t end = first.value() + count;
  for (std::uint64_t page = first.value(); page < end;) {
    std::uint64_t extent = page / kExtentPages;
    std::uint64_t next = std::min(end, (extent + 1) * kExtentPages);
    ASHLAR_CHECK(extent < chunks_.size() && chunks_[extent].live >= next - page, "released pages never added; page={}", page);
    Chunk& chunk = chunks_[extent];
    chunk.live -= static_cast<std::uint32_t>(next - page);
    if (chunk.live == 0) {
      FreeChunk(chunk.entries);
      chunk.entries = nullptr;
      --chunk_count_;
    }
    page = next;
  }
}

PageTable PageTable::Clone() const {
  PageTable copy;
  copy.chunks_ = chunks_;
  copy.chunk_count_ = chunk_count_;
  for (Chunk& chunk : copy.chunks_) {
    if (chunk.entries == nullptr) continue;
    PageEntry* entries = NewChunk();
    std::memcpy(static_cast<void*>(entries), chunk.entries, kChunkBytes);
    chunk.entries = entries;
  }
  return copy;
}

}  // namespace ashlar::pnode
