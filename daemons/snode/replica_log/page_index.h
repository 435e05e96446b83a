// Which version of each page the log holds and where, and what is known of each space. It is rebuilt at start by
// applying every entry of the log, and kept by applying each batch once it is durable: the same code.
//
// No I/O. Threads: one thread at a time.
// Invariant: the live bytes of the segment table are those of the pages and opens this index points at.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>

#include "absl/container/flat_hash_map.h"
#include "common/base/ids.h"
#include "daemons/snode/replica_log/batch_format.h"
#include "daemons/snode/replica_log/open_record.h"
#include "daemons/snode/replica_log/segment_table.h"
#include "daemons/snode/replica_log/trim_floors.h"
#include "daemons/snode/replica_log/version_rule.h"

namespace ashlar::snode {

struct PageSlot {
  Version version;
  std::uint64_t era = 0;
  std::uint32_t crc = 0;
  std::uint32_t segment = 0;
  std::uint32_t epoch = 0;
  std::uint16_t block = 0;  // 0 = it has no bytes: a zero page
  bool bad = false;         // what the disk has of it is not what was written
  bool zero() const { return block == 0 && !bad; }
};
static_assert(sizeof(PageSlot) == 32);

struct SpaceRecord {
  OpenRecord open;                 // what is durable; epoch 0 = nothing yet
  std::uint32_t open_segment = 0;  // where the `open` entry lies
  std::uint16_t open_block = 0;
  bool ended = false;
  std::uint64_t ended_seq = 0;  // batch_seq in which the end was first written
  std::uint64_t era = 0;        // highest seen
  absl::flat_hash_map<std::uint64_t, PageSlot> pages;
  std::map<std::uint64_t, std::uint32_t> extents;  // by ExtentOf: how many of `pages` lie in it; never 0
  std::set<std::uint64_t> bad_pages;               // those of `pages` that are bad
  TrimFloors floors;
};

class PageIndex {
 public:
  explicit PageIndex(SegmentTable& segments) : segments_(segments) {}

  // Takes one durable entry of a batch at `segment`. `written_seq`: batch_seq in which it was first written (a
  // cleaner's copy keeps the old one). `open`: the decoded data block of an `open`, else nullptr.
  VersionVerdict Apply(const disk::Entry& entry, std::uint32_t segment, std::uint64_t written_seq,
                       const OpenRecord* open);

  const SpaceRecord* FindSpace(SpaceId space) const;
  const PageSlot* FindPage(SpaceId space, PageNumber page) const;
  // What the index answers to a version that arrives now.
  VersionVerdict Judge(const SpaceRecord& space, PageNumber page, VersionMark arriving) const;
  // Whether the index points at just this copy, so that a cleaner must keep it.
  bool IsLive(const disk::Entry& entry, std::uint32_t segment) const;

  // The version held of that page turned out to be unreadable: it answers DataLoss until the same or a higher version
  // comes. False: the index does not hold that version (any more), or knew it.
  bool MarkBad(SpaceId space, PageNumber page, Version version);
  std::uint64_t bad_page_count() const { return bad_page_count_; }

  // A segment was used again: forgets trims and ended spaces that no longer hide anything.
  void ForgetHidden();

  std::uint64_t page_count() const { return page_count_; }
  std::size_t space_count() const { return spaces_.size(); }
  template <typename Visit>
  void ForEachSpace(Visit visit) const {
    for (const auto& [id, record] : spaces_) visit(id, *record);
  }

 private:
  VersionVerdict ApplyPage(SpaceRecord& space, const disk::Entry& entry, std::uint32_t segment);
  VersionVerdict ApplyLost(SpaceRecord& space, const disk::Entry& entry, std::uint32_t segment);
  void ApplyTrim(SpaceRecord& space, const disk::Entry& entry, std::uint64_t written_seq);
  void ApplyOpen(SpaceRecord& space, const disk::Entry& entry, std::uint32_t segment, const OpenRecord& open);
  void ApplyEnd(SpaceRecord& space, std::uint64_t written_seq);
  void Drop(const PageSlot& slot);
  void Forget(SpaceRecord& space, std::uint64_t page);  // of an extent's count, of the bad pages

  SegmentTable& segments_;
  absl::flat_hash_map<SpaceId, std::unique_ptr<SpaceRecord>> spaces_;
  std::uint64_t page_count_ = 0;
  std::uint64_t bad_page_count_ = 0;
};

}  // namespace ashlar::snode
