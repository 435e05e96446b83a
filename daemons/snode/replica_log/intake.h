// What has been accepted and is not durable yet: epochs and ends that already bind new calls, and page versions on
// their way. It lets a call be refused against what is coming, while nothing is promised before the disk has it.
//
// Threads: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "common/base/check.h"
#include "common/base/ids.h"
#include "daemons/snode/replica_log/open_record.h"
#include "daemons/snode/replica_log/page_index.h"
#include "daemons/snode/replica_log/version_rule.h"

namespace ashlar::snode {

class Intake {
 public:
  struct Space {
    OpenRecord open;  // as accepted last; epoch 0 = none
    bool ended = false;
    OpenRecord formed;  // as put into a batch last; epoch 0 = none yet
    bool end_formed = false;
    std::uint32_t pending = 0;  // control entries not yet durable; the record goes with the last
  };

  // What a new call meets: the accepted state if some of it is still on its way, else the durable one.
  Space Now(const PageIndex& index, SpaceId space) const {
    if (auto it = spaces_.find(space); it != spaces_.end()) return it->second;
    const SpaceRecord* record = index.FindSpace(space);
    if (record == nullptr) return {};
    return {.open = record->open, .ended = record->ended, .formed = record->open, .end_formed = record->ended};
  }
  // `count` control entries of `space` were accepted, which thereby is as `now` says.
  void AcceptControl(SpaceId space, Space now, std::uint32_t count) {
    now.pending += count;
    spaces_[space] = std::move(now);
  }
  void OnOpenFormed(SpaceId space, const OpenRecord& open) { spaces_.at(space).formed = open; }
  void OnEndFormed(SpaceId space) { spaces_.at(space).end_formed = true; }
  void OnControlDurable(SpaceId space) {
    auto it = spaces_.find(space);
    ASHLAR_CHECK(it != spaces_.end() && it->second.pending > 0, "space={}", space.value());
    if (--it->second.pending == 0) spaces_.erase(it);
  }

  // Whether `mark` contradicts a version of the page that is on its way: the same number, another checksum.
  bool Contradicts(SpaceId space, PageNumber page, VersionMark mark) const {
    auto it = pages_.find({space, page});
    return it != pages_.end() && it->second.highest.version == mark.version && it->second.highest.crc != mark.crc;
  }
  void AcceptPage(SpaceId space, PageNumber page, VersionMark mark) {
    Page& pending = pages_[{space, page}];
    ++pending.count;
    if (mark.version >= pending.highest.version) pending.highest = mark;
  }
  void OnPageDecided(SpaceId space, PageNumber page) {
    auto it = pages_.find({space, page});
    ASHLAR_CHECK(it != pages_.end(), "space={} page={}", space.value(), page.value());
    if (--it->second.count == 0) pages_.erase(it);
  }

 private:
  struct Page {
    VersionMark highest;
    std::uint32_t count = 0;
  };
  absl::flat_hash_map<SpaceId, Space> spaces_;
  absl::flat_hash_map<std::pair<SpaceId, PageNumber>, Page> pages_;
};

}  // namespace ashlar::snode
