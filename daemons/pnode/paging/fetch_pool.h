// The fetches under way of one owner thread and the buffers they land in: a fixed number of groups of 16 pages that lie side
// by side, so that what was fetched together is installed by one COPY.
//
// Threads: one at a time (the owner). No allocation after construction.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/base/mapping.h"
#include "daemons/pnode/paging/page_hash.h"

namespace ashlar::pnode {

struct Memory;  // program.h
class Program;

class FetchPool {
 public:
  static constexpr std::uint32_t kGroupPages = 16;
  static constexpr std::uint32_t kNone = 0xffff'ffff;

  enum class PageProgress : std::uint8_t {
    kUnused,    // dropped, installed, or never asked for
    kPosted,    // the store has it
    kArrived,   // the bytes are in the buffer
    kFailed,    // to be asked for again at retry_ns
    kAbandoned, // the store has it, nobody wants it
  };
  struct Waiter {
    std::uint32_t thread = 0;
    std::uint64_t read_ns = 0;  // when its fault was read
  };
  struct Page {
    PageProgress progress = PageProgress::kUnused;
    bool wanted = false;        // a thread waits
    bool left_soon_ago = false;  // when it was asked for
    PageNumber page;
    Version version;
    PageHash hash;               // of the bytes that arrived
    std::array<Waiter, 4> waiters;  // the first ones, to be told of (PagingEvents::OnMissServed)
    std::uint8_t waiter_count = 0;
    std::uint64_t fault_ns = 0;  // when the first waiting thread was read; 0 = none
    std::uint32_t attempts = 0;
    std::uint64_t retry_ns = 0;
  };
  struct Group {
    Program* program = nullptr;  // nullptr = free
    Memory* memory = nullptr;    // whose pages; nullptr: for the children before it is overwritten (fork.cc), or abandoned
    std::uint32_t count = 0;
    bool stream = false;         // for someone who walks
    bool ahead = false;          // stays in the buffer until a fault proves that the stream arrives
    std::uint64_t posted_ns = 0;
    std::uint64_t arrived_ns = 0;  // of the last page
    std::array<Page, kGroupPages> pages;
  };

  static absl::StatusOr<FetchPool> Create(std::uint32_t group_count);

  // kNone: all are in use.
  std::uint32_t Take();
  void Release(std::uint32_t group);
  Group& group(std::uint32_t index) { return groups_[index]; }
  std::uint32_t group_count() const { return static_cast<std::uint32_t>(groups_.size()); }
  std::uint32_t free_count() const { return static_cast<std::uint32_t>(free_.size()); }

  // A page's number among all: group * kGroupPages + place.
  Page& page(std::uint32_t index) { return groups_[index / kGroupPages].pages[index % kGroupPages]; }
  std::span<std::byte> bytes(std::uint32_t index) const { return buffer_.bytes().subspan(index * kPageBytes, kPageBytes); }
  std::span<std::byte> all_bytes() const { return buffer_.bytes(); }

 private:
  Mapping buffer_;
  std::vector<Group> groups_;
  std::vector<std::uint32_t> free_;
};

}  // namespace ashlar::pnode
