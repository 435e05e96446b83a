// Fills extents of a space that came from another home with what the snodes keep of them. A write-back that comes meanwhile
// wins by its version, a trim by its own; whether an extent is whole in the end is judged by the pnode, which alone knows
// what was acknowledged.
//
// Bounds: kMaxReads reads under way; the extents that wait have frames, so the pool bounds them.
// Threads: only the shard's, except CollectStats.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/base/clock.h"
#include "common/fit/connection.h"
#include "common/fit/messages.h"
#include "daemons/mnode/pool/space_table.h"
#include "daemons/mnode/replication/replica_set.h"

namespace ashlar::mnode {

class ExtentFiller {
 public:
  static constexpr std::size_t kMaxReads = 6;  // of up to 64 pages, over all snodes

  // `spaces` outlives it. The links of `replicas` end before it, and Stop is called before they do.
  ExtentFiller(SpaceTable& spaces, ReplicaSet& replicas, const Clock& clock);
  void Stop() { ending_ = true; }

  // Reads what every reachable snode keeps of that extent, the space's own snode first. Once per extent at a time.
  void Fill(SpaceId space, std::uint64_t extent);
  bool Filling(SpaceId space, std::uint64_t extent) const { return jobs_.contains({space, extent}); }
  void CollectStats(StatList& stats) const;  // any thread

 private:
  using Key = std::pair<SpaceId, std::uint64_t>;
  struct Job {
    std::vector<std::size_t> members;  // still to be read, the last one first
    std::uint64_t next_page = 0;
    bool reading = false;
  };
  struct Read final : fit::PendingCall {
    void OnDone(const fit::CallResult& result) override { filler->ReadDone(*this, result); }
    void OnReleased() override { filler->ReadReleased(*this); }
    ExtentFiller* filler = nullptr;
    Key key;
    std::size_t member = 0;
  };
  void Pump();
  bool Send(const Key& key, Job& job);
  void ReadDone(Read& read, const fit::CallResult& result);
  // Takes the pages of one answer; where to go on in this extent, or kNoNextPage.
  std::uint64_t TakePages(const Key& key, std::size_t member, const fit::CallResult& result);
  void ReadReleased(Read& read);

  SpaceTable& spaces_;
  ReplicaSet& replicas_;
  const Clock& clock_;
  absl::flat_hash_map<Key, Job> jobs_;
  std::deque<Key> ready_;  // jobs with no read under way
  std::deque<Read> reads_;
  std::vector<Read*> free_;
  bool ending_ = false;
  bool pumping_ = false;
  Counter extents_filled_, pages_taken_, pages_refused_, reads_failed_, jobs_waiting_;
};

}  // namespace ashlar::mnode
