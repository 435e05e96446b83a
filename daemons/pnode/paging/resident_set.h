// The pages of one program that are in its memory and can be evicted: their content hashes, and the order they came in.
//
// Threads: one at a time (the owner). Entries are numbered; a PageEntry links to its number.
#pragma once

#include <cstdint>
#include <vector>

#include "common/base/ids.h"
#include "daemons/pnode/paging/page_hash.h"

namespace ashlar::pnode {

class ResidentSet {
 public:
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  struct Page {
    PageNumber page;
    PageHash hash;               // valid if the page's entry says so
    std::uint32_t previous = kNone, next = kNone;  // the policy's list
    std::uint32_t entered = 0;   // the policy's clock
    std::uint8_t queue = 0;      // the policy's
    std::uint8_t rounds = 0;     // the policy's: further chances
    std::uint8_t refusals = 0;   // MOVE answered EBUSY in a row
  };

  std::uint32_t Add(PageNumber page) {
    std::uint32_t index = free_;
    if (index == kNone) {
      index = static_cast<std::uint32_t>(pages_.size());
      pages_.emplace_back();
    } else {
      free_ = pages_[index].next;
    }
    pages_[index] = Page{.page = page};
    ++size_;
    return index;
  }
  void Remove(std::uint32_t index) {
    pages_[index].next = free_;
    free_ = index;
    --size_;
  }
  void Reserve(std::size_t count) { pages_.reserve(count); }
  Page& operator[](std::uint32_t index) { return pages_[index]; }
  std::size_t size() const { return size_; }

 private:
  std::vector<Page> pages_;
  std::uint32_t free_ = kNone;
  std::size_t size_ = 0;
};

}  // namespace ashlar::pnode
