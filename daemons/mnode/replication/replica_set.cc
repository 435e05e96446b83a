#include "daemons/mnode/replication/replica_set.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace ashlar::mnode {
namespace {

constexpr std::uint64_t kTickNs = 250'000'000;

// Of Steele's SplitMix64: every bit of the result depends on every bit of both.
std::uint64_t Mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}
std::uint64_t HashOf(SpaceId space, NodeId node) { return Mix(Mix(space.value() + 0x9E3779B97F4A7C15) ^ node.value()); }

}  // namespace

ReplicaSet::ReplicaSet(fit::Shard& shard, SpaceTable& spaces, BatchBuffers& buffers, const std::vector<SnodeOptions>& snodes,
                       const ReplicatorOptions& options, std::uint64_t replace_after_ns, const Clock& clock)
    : shard_(shard), spaces_(spaces), buffers_(buffers), replace_after_ns_(replace_after_ns), clock_(clock) {
  ASHLAR_CHECK(!snodes.empty(), "a replica set without snodes");
  for (const SnodeOptions& snode : snodes) {
    ReplicatorOptions own = options;
    own.snode = snode.name;
    members_.push_back({snode, std::make_unique<Replicator>(shard, spaces, buffers, own, clock), false});
  }
}

std::size_t ReplicaSet::Choose(SpaceId space) const {
  const auto rank = [&](const Member& member) {
    return std::tuple(Fit(member), !member.drained, !member.options.same_host, HashOf(space, member.options.node));
  };
  return static_cast<std::size_t>(std::max_element(members_.begin(), members_.end(), [&](const Member& a, const Member& b) {
    return rank(a) < rank(b);
  }) - members_.begin());
}

void ReplicaSet::AddSpace(const Space& space) {
  const auto [it, added] = member_of_.try_emplace(space.id(), 0);
  if (added) it->second = Choose(space.id());
  members_[it->second].replicator->AddSpace(space);
  ArmTick();
}

std::size_t ReplicaSet::MemberOf(SpaceId space) const {
  const auto it = member_of_.find(space);
  return it == member_of_.end() ? members_.size() : it->second;
}

bool ReplicaSet::Reachable(SpaceId space) const {
  const std::size_t member = MemberOf(space);
  return member < members_.size() && members_[member].replicator->link_up();
}

void ReplicaSet::Append(Batch& batch, fit::Deadline deadline, BatchOwner& owner) {
  members_[member_of_.at(batch.space())].replicator->Append(batch, deadline, owner);
}

bool ReplicaSet::AddTrims(SpaceId space, std::span<const fit::wire::TrimRange> ranges) {
  return members_[member_of_.at(space)].replicator->AddTrims(space, ranges);
}

void ReplicaSet::LeaveSpace(SpaceId space) {
  const auto it = member_of_.find(space);
  if (it == member_of_.end()) return;
  members_[it->second].replicator->LeaveSpace(space);
  member_of_.erase(it);
}

void ReplicaSet::EndSpace(SpaceId space, Epoch epoch, fit::Deadline deadline, absl::AnyInvocable<void(bool)> done) {
  member_of_.erase(space);
  struct Join {
    absl::AnyInvocable<void(bool)> done;
    std::size_t left = 1;
    bool confirmed = true;
  };
  auto join = std::make_shared<Join>(std::move(done));
  const auto arrive = [join](bool confirmed) {
    join->confirmed = join->confirmed && confirmed;
    if (--join->left == 0) join->done(join->confirmed);
  };
  const bool anyone_up = std::any_of(members_.begin(), members_.end(), [](const Member& member) { return member.replicator->link_up(); });
  for (Member& member : members_) {
    if (anyone_up && !member.replicator->link_up()) {
      member.replicator->EndSpace(space, epoch, deadline, [](bool) {});
      continue;
    }
    ++join->left;
    member.replicator->EndSpace(space, epoch, deadline, arrive);
  }
  arrive(true);
}

bool ReplicaSet::Drain(std::string_view snode, bool drained) {
  const auto member = std::find_if(members_.begin(), members_.end(), [snode](const Member& one) { return one.options.name == snode; });
  if (member == members_.end()) return false;
  member->drained = drained;
  Replace();
  return true;
}

// Moves the spaces whose snode is drained, or was away for too long, to one that is there.
void ReplicaSet::Replace() {
  std::vector<std::pair<SpaceId, std::size_t>> moves;
  for (const auto& [space, index] : member_of_) {
    const Member& now = members_[index];
    const bool away = !now.replicator->link_up() && clock_.NowNs() >= now.replicator->down_since_ns() + replace_after_ns_;
    if (!away && !now.drained) continue;
    const std::size_t next = Choose(space);
    if (next != index && Fit(members_[next])) moves.emplace_back(space, next);
  }
  for (const auto& [id, next] : moves) {
    Space* space = spaces_.Find(id);
    if (space == nullptr) continue;
    std::size_t& index = member_of_.at(id);
    log::Warn("replication: a snode is replaced, its successor is filled from memory space={:x} from={} to={} bytes={}", id.value(),
              members_[index].options.name, members_[next].options.name, space->live_pages() * kPageBytes);
    members_[index].replicator->LeaveSpace(id);
    space->ForgetDurable();
    index = next;
    members_[next].replicator->AddSpace(*space);
    replaced_.Add();
  }
}

void ReplicaSet::ArmTick() {
  if (std::exchange(tick_armed_, true)) return;
  shard_.At(clock_.NowNs() + kTickNs, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) Tick();
  });
}

void ReplicaSet::Tick() {
  tick_armed_ = false;
  Replace();
  std::vector<ReplicaReport> reports;
  for (const auto& [id, index] : member_of_) {
    const Space* space = spaces_.Find(id);
    if (space == nullptr) continue;
    const Replicator& replicator = *members_[index].replicator;
    reports.push_back({.space = id, .snode = members_[index].options.name, .state = replicator.StateOf(id),
                       .live_bytes = space->live_pages() * kPageBytes, .behind_bytes = space->behind_pages() * kPageBytes,
                       .extents = space->extent_count()});
  }
  std::sort(reports.begin(), reports.end(), [](const auto& a, const auto& b) { return a.space < b.space; });
  {
    absl::MutexLock lock(&mutex_);
    reports_ = std::move(reports);
  }
  if (!member_of_.empty()) ArmTick();
}

std::vector<ReplicaReport> ReplicaSet::Reports() const {
  absl::MutexLock lock(&mutex_);
  return reports_;
}

std::vector<fit::LinkReport> ReplicaSet::link_reports() const {
  std::vector<fit::LinkReport> reports;
  for (const Member& member : members_) reports.push_back(member.replicator->link_report());
  return reports;
}

void ReplicaSet::CollectStats(StatList& stats) const {
  stats.Add("replicas_replaced_total", replaced_);
  for (const Member& member : members_) member.replicator->CollectStats(stats);
}

}  // namespace ashlar::mnode
