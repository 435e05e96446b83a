// Which snode keeps which space of this home, and the links to all of them. A snode that stays away, or is drained, is
// replaced by another of the topology; its successor is filled from memory by the code that replicates first writes.
//
// Choosing: a snode that is reachable, on another host than this home if there is one, and of these the one with the highest
// hash(space, snode): spread without coordination, and the same again when asked again.
// A former snode keeps what it has until the space ends: a pnode in recovery asks all of them, for exact versions.
//
// Threads: only the shard's, except CollectStats, Reports and link_reports.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "daemons/mnode/replication/replicator.h"

namespace ashlar::mnode {

struct SnodeOptions {
  std::string name;        // "s1"
  NodeId node;
  bool same_host = false;  // as this home: chosen only if there is no other
};

// How a space is kept, for people.
struct ReplicaReport {
  SpaceId space;
  std::string snode;
  SlotState state = SlotState::kEmpty;
  std::uint64_t live_bytes = 0;
  std::uint64_t behind_bytes = 0;  // not on that snode's disk yet
  std::size_t extents = 0;
};

class ReplicaSet {
 public:
  // `spaces` and `buffers` outlive it; at least one snode. `replace_after_ns`: without a link, before another takes over.
  ReplicaSet(fit::Shard& shard, SpaceTable& spaces, BatchBuffers& buffers, const std::vector<SnodeOptions>& snodes,
             const ReplicatorOptions& options, std::uint64_t replace_after_ns, const Clock& clock);

  std::size_t size() const { return members_.size(); }
  Replicator& member(std::size_t i) { return *members_[i].replicator; }  // Attach its link before the first space
  NodeId node(std::size_t i) const { return members_[i].options.node; }
  // As Replicator's, at the snode of that space.
  void AddSpace(const Space& space);
  void Append(Batch& batch, fit::Deadline deadline, BatchOwner& owner);
  void Drop(Batch& batch) { buffers_.Return(batch); }
  bool AddTrims(SpaceId space, std::span<const fit::wire::TrimRange> ranges);
  void LeaveSpace(SpaceId space);
  // At every snode: a former one may keep it too. `done(true)` once all that are reachable confirmed; the others are told
  // when they come back, while this daemon lives.
  void EndSpace(SpaceId space, Epoch epoch, fit::Deadline deadline, absl::AnyInvocable<void(bool confirmed)> done);

  // The member that keeps the space; size(): none.
  std::size_t MemberOf(SpaceId space) const;
  bool Reachable(SpaceId space) const;
  // Moves every space off that snode and chooses it no more, or may choose it again. False: no such snode.
  bool Drain(std::string_view snode, bool drained);

  std::vector<ReplicaReport> Reports() const;  // any thread; a second old at most
  std::vector<fit::LinkReport> link_reports() const;  // any thread, after Attach
  void CollectStats(StatList& stats) const;           // any thread

 private:
  struct Member {
    SnodeOptions options;
    std::unique_ptr<Replicator> replicator;
    bool drained = false;
  };
  std::size_t Choose(SpaceId space) const;
  bool Fit(const Member& member) const { return member.replicator->link_up() && !member.drained; }
  void Replace();
  void ArmTick();
  void Tick();

  fit::Shard& shard_;
  SpaceTable& spaces_;
  BatchBuffers& buffers_;
  const std::uint64_t replace_after_ns_;
  const Clock& clock_;
  absl::flat_hash_map<SpaceId, std::size_t> member_of_;
  bool tick_armed_ = false;
  Counter replaced_;
  mutable absl::Mutex mutex_;  // leaf
  std::vector<ReplicaReport> reports_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::vector<Member> members_;  // last: their end ends every batch
};

}  // namespace ashlar::mnode
