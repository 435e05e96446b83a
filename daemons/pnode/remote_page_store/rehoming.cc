// How a space changes its home: who is left and why, the fence at the storage nodes, the choice of the next home, and what
// the former one is told. rehoming.h has the states.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "daemons/pnode/remote_page_store/remote_page_store.h"

namespace ashlar::pnode {
namespace wire = fit::wire;
using fit::Code;
namespace {

constexpr std::uint64_t kFenceRetryNs = 50'000'000;

std::string RestartedWords(const HomeLink& home) {
  return absl::StrCat("memory node ", home.name(), " restarted and lost the pages of this program that were there, and replicas: 0 keeps no others");
}

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

void HomeLink::OnUp(Incarnation server, std::uint64_t) { store.HomeUp(*this, server); }
void HomeLink::OnDown(const absl::Status& reason) { store.HomeDown(*this, reason); }
void StorageLink::OnUp(Incarnation, std::uint64_t) { store.StorageUp(*this); }
void StorageLink::OnDown(const absl::Status& reason) { store.StorageDown(*this, reason); }

void RemotePageStore::HomeUp(HomeLink& home, Incarnation server) {
  const bool restarted = home.incarnation != Incarnation(0) && server != home.incarnation;
  home.incarnation = server;
  home.down_since_ns = 0;
  home.link_up.Set(1);
  if (restarted) {
    home.formers.clear();  // another life: it holds nothing
    home.free_extents = home.options.extents;
  }
  std::vector<RemoteSpace*> all;
  for (auto& [id, space] : spaces_) all.push_back(space.get());
  for (RemoteSpace* space : all) {
    if (space->home == &home) {
      space->map_retry_at_ns = space->control_retry_at_ns = 0;
      if (restarted) LeaveHome(*space, "restarted");
    }
    PumpSpace(*space);
  }
  ReleaseFormers(home);
  RetryFetches();
  RetryWriteBacks();
}

void RemotePageStore::HomeDown(HomeLink& home, const absl::Status& reason) {
  home.link_up.Set(0);
  home.link_losses.Add();
  home.down_since_ns = Now();
  log::Warn("page store: no link to a memory node, its pages wait home={} spaces={} reason={}", home.name(), home.spaces, reason);
  if (home.spaces > 0) ArmTick();
}

void RemotePageStore::StorageUp(StorageLink& storage) {
  storage.link_up.Set(1);
  for (auto& [id, space] : spaces_) {
    space->storage[storage.index].retry_at_ns = 0;
    PumpRehome(*space);
  }
  RetryFetches();
}

void RemotePageStore::StorageDown(StorageLink& storage, const absl::Status& reason) {
  storage.link_up.Set(0);
  storage.link_losses.Add();
  log::Warn("page store: no link to a storage node, it can't help in a recovery storage={} reason={}", storage.name, reason);
}

// A link that was lost for a moment comes back by itself; one that stays away is not waited for.
void RemotePageStore::LeaveHomesThatStayAway() {
  if (storages_.empty()) return;
  for (HomeLink& home : homes_) {
    if (home.down_since_ns == 0 || home.spaces == 0) continue;
    if (Now() < home.down_since_ns + options_.fail_over_ns) {
      ArmTick();
      continue;
    }
    for (auto& [id, space] : spaces_)
      if (space->home == &home) LeaveHome(*space, "is out of reach");
  }
}

bool RemotePageStore::Drain(std::string_view name, bool drained) {
  const auto home = std::find_if(homes_.begin(), homes_.end(), [name](const HomeLink& one) { return one.name() == name; });
  if (home == homes_.end()) return false;
  home->drained = drained;
  if (drained && !storages_.empty()) {
    for (auto& [id, space] : spaces_)
      if (space->home == &*home && !space->ending) LeaveHome(*space, "is drained");
  }
  for (auto& [id, space] : spaces_) PumpRehome(*space);  // those that found no home may find it now
  RetryFetches();
  return true;
}

void RemotePageStore::Apply(RemoteSpace& space, RehomeEvent event) {
  const std::optional<RehomeState> next = Next(space.rehome, event);
  ASHLAR_CHECK(next.has_value(), "space {:x}: event {} in state {}", space.id.value(), static_cast<int>(event), Name(space.rehome));
  space.rehome = *next;
  Report(space);
}

void RemotePageStore::LeaveHome(RemoteSpace& space, std::string_view why) {
  HomeLink& home = *space.home;
  if (!space.lost.ok()) return;
  const bool had_pages = std::any_of(space.extents.begin(), space.extents.end(), [](const auto& entry) { return entry.second.maybe_there.any(); });
  if (storages_.empty() && had_pages && !space.ending) return LoseSpace(space, absl::DataLossError(RestartedWords(home)));

  homes_left_.Add();
  space.left_at_ns = Now();
  home.formers.push_back({space.id, space.epoch});
  --home.spaces;
  space.home = nullptr;
  space.epoch = Epoch(space.epoch.value() + 1);
  space.make_wanted.clear();
  space.window_wanted.clear();
  space.maybe_empty.clear();
  space.missed.clear();
  space.to_refill.clear();
  space.map_retry_at_ns = space.control_retry_at_ns = 0;
  for (auto it = space.extents.begin(); it != space.extents.end();) {
    RemoteExtent& extent = it->second;
    extent.mapped = extent.unmapping = false;
    extent.window = {};
    extent.window_epoch = 0;
    extent.refill.reset();
    if (extent.AnyAcked()) {
      extent.refill = std::make_unique<ExtentRefill>();
      space.to_refill.insert(it->first);
    } else if (extent.users == 0) {
      it = space.extents.erase(it);
      continue;
    }
    ++it;
  }
  space.extents_to_refill = space.to_refill.size();
  Apply(space, RehomeEvent::kHomeLeft);
  log::Warn("page store: a space leaves its memory node, its pages come from the storage nodes until another is filled space={:x} "
            "home={} why=\"{}\" epoch={} extents={}", space.id.value(), home.name(), why, space.epoch.value(), space.to_refill.size());
  if (storages_.empty()) Apply(space, RehomeEvent::kFenced);  // nothing was acknowledged, so nothing can be fenced
  CancelCallsTo(home, space);
  PumpRehome(space);
}

// Their outcome is unknown, and must not be waited for: write-backs that were sent are given
// back, to be sent again; reads are repeated by us.
void RemotePageStore::CancelCallsTo(HomeLink& home, RemoteSpace& space) {
  for (WriteBackOp& op : write_backs_) {
    if (op.space == &space && op.state == WriteBackOp::State::kSent) home.connection->Cancel(op);
  }
  for (std::size_t i = 0; i < control_calls_.all.size(); ++i) {
    ControlCall& call = control_calls_.all[i];
    if (call.busy && call.space == &space && call.home == &home) home.connection->Cancel(call);
  }
  for (std::size_t i = 0; i < read_calls_.all.size(); ++i) {
    ReadCall& call = read_calls_.all[i];
    if (!call.busy || call.home != &home) continue;
    const bool ours = std::any_of(call.ops.begin(), call.ops.begin() + static_cast<std::ptrdiff_t>(call.count),
                                  [&space](const FetchOp* op) { return op->space == &space; });
    if (ours) home.connection->Cancel(call);
  }
}

void RemotePageStore::PumpRehome(RemoteSpace& space) {
  if (!space.lost.ok()) {
    if (!space.ending || space.home != nullptr || (space.home = ChooseHome(space)) == nullptr) return;
    ++space.home->spaces;  // only to pass its end on
    return PumpControl(space);
  }
  if (space.rehome != RehomeState::kServed && space.left_at_ns != 0) {
    SendFences(space);
    JudgeFences(space);
  }
  if (space.rehome == RehomeState::kSeeking && space.lost.ok()) {
    HomeLink* home = ChooseHome(space);
    if (home == nullptr) return;
    space.home = home;
    ++home->spaces;
    std::erase_if(home->formers, [&space](const HomeLink::Former& former) { return former.space == space.id; });
    Apply(space, RehomeEvent::kHomeChosen);
    PumpMap(space);
    PumpControl(space);
  }
  if (space.rehome == RehomeState::kRefilling) PumpRefill(space);
}

void RemotePageStore::SendFences(RemoteSpace& space) {
  for (StorageLink& storage : storages_) {
    StorageView& view = space.storage[storage.index];
    if (view.busy || view.fenced == space.epoch || !storage.up()) continue;
    if (Now() < view.retry_at_ns) {
      ArmTick();
      continue;
    }
    const fit::ShardOptions& self = shard_.options();
    const wire::FenceRequest request{.space = space.id.value(), .epoch = space.epoch.value(), .owner_node = self.node.value(),
                                     .owner_incarnation = self.incarnation.value()};
    FenceCall& call = *fence_calls_.Take();
    call.store = this;
    call.space = &space;
    call.storage = &storage;
    call.epoch = space.epoch;
    if (!storage.connection->Start(wire::Opcode::kFenceEpoch, BytesOf(request), {}, {Now() + options_.control_timeout_ns}, call).ok()) {
      fence_calls_.Give(&call);
      ArmTick();
      continue;
    }
    view.busy = true;
    ++space.fences_busy;
  }
}

void RemotePageStore::FenceDone(FenceCall& call, const fit::CallResult& result) {
  RemoteSpace& space = *call.space;
  StorageView& view = space.storage[call.storage->index];
  view.busy = false;
  --space.fences_busy;
  const Code code = result.status.ok() ? Code::kOk : result.code;
  if (call.epoch == space.epoch) {
    switch (code) {
      case Code::kOk:
      case Code::kAlready:
      case Code::kNotFound:
        view.fenced = call.epoch;
        view.keeps = code != Code::kNotFound;
        break;
      case Code::kStaleEpoch:
        LoseSpace(space, absl::FailedPreconditionError(absl::StrCat(
            "storage node ", call.storage->name, " knows another owner of this program's memory: a newer start of this processor node, or another one")));
        break;
      default:
        view.retry_at_ns = Now() + kFenceRetryNs;
    }
  }
  PumpSpace(space);
  RetryFetches();
}

// One storage node that keeps the space is enough to go on: the others are fenced before they are read.
void RemotePageStore::JudgeFences(RemoteSpace& space) {
  if (space.rehome != RehomeState::kFencing) return;
  bool any = false, all_deny = !space.storage.empty();
  for (const StorageView& view : space.storage) {
    const bool fenced = view.fenced == space.epoch;
    any = any || (fenced && view.keeps);
    all_deny = all_deny && fenced && !view.keeps;
  }
  if (all_deny && !space.to_refill.empty())
    return LoseSpace(space, absl::DataLossError("its memory node is gone, and no storage node knows this program's memory"));
  if (!any && !all_deny) return;
  fence_ns_.Add(Now() - space.left_at_ns);
  Apply(space, RehomeEvent::kFenced);
}

HomeLink* RemotePageStore::ChooseHome(const RemoteSpace& space) const {
  HomeLink* best = nullptr;
  const auto better = [&](const HomeLink& one, const HomeLink& than) {
    if ((one.options.weight == 0) != (than.options.weight == 0)) return than.options.weight == 0;
    if (options_.placement == Placement::kMostFree || one.options.weight == 0) return one.free_extents > than.free_extents;
    return (one.spaces + 1) * than.options.weight < (than.spaces + 1) * one.options.weight;
  };
  for (const HomeLink& home : homes_) {
    // A space that ends needs anybody who passes its end on.
    if (!home.up() || (home.drained && !space.ending)) continue;
    if (best == nullptr || better(home, *best)) best = const_cast<HomeLink*>(&home);
  }
  return best;
}

// A former home that lives on gets its frames back; not before the space is whole elsewhere, so that no READ of ours is on
// its way to them any more.
void RemotePageStore::ReleaseFormers(HomeLink& home) {
  if (home.release_busy || !home.up()) return;
  std::erase_if(home.formers, [&](const HomeLink::Former& former) {
    const RemoteSpace* space = FindSpace(former.space);
    return space != nullptr && space->home == &home;  // it came back
  });
  const auto next = std::find_if(home.formers.begin(), home.formers.end(), [&](const HomeLink::Former& former) {
    const RemoteSpace* space = FindSpace(former.space);
    return space == nullptr || space->rehome == RehomeState::kServed;
  });
  if (next == home.formers.end()) return;
  const HomeLink::Former former = *next;
  const wire::SpaceList head{.space = former.space.value(), .epoch = former.epoch.value(), .view = 0, .count = 0, .flags = wire::kDestroyHereOnly};
  ReleaseCall& call = *release_calls_.Take();
  call.store = this;
  call.home = &home;
  call.former = former;
  if (!home.connection->Start(wire::Opcode::kDestroySpace, BytesOf(head), {}, {Now() + options_.control_timeout_ns}, call).ok()) {
    release_calls_.Give(&call);
    return ArmTick();
  }
  home.release_busy = true;
}

void RemotePageStore::ReleaseDone(ReleaseCall& call, const fit::CallResult& result) {
  const bool answered = result.status.ok() || result.code == Code::kNotFound || result.code == Code::kStaleEpoch;
  if (!answered) return;  // again when its link is up
  std::erase_if(call.home->formers, [&call](const HomeLink::Former& former) {
    return former.space == call.former.space && former.epoch == call.former.epoch;
  });
}

void RemotePageStore::ReleaseReleased(ReleaseCall& call) {
  HomeLink& home = *call.home;
  home.release_busy = false;
  const bool more = std::none_of(home.formers.begin(), home.formers.end(), [&call](const HomeLink::Former& former) { return former.space == call.former.space; });
  release_calls_.Give(&call);
  if (more) ReleaseFormers(home);
}

bool RemotePageStore::LostBy(RemoteSpace& space, Code code) {
  if (code == Code::kStaleEpoch) {
    LoseSpace(space, absl::FailedPreconditionError(absl::StrCat(
        "memory node ", space.home->name(), " serves another owner of this program's memory: a newer start of this processor node, or another one")));
    return true;
  }
  if (code != Code::kNotFound) return false;
  if (storages_.empty()) {
    LoseSpace(space, absl::DataLossError(absl::StrCat(
        "memory node ", space.home->name(), " no longer keeps this program's memory: it was out of reach for longer than the node waits")));
  } else {
    LeaveHome(space, "does not know the space any more");
  }
  return true;
}

void RemotePageStore::Report(const RemoteSpace& space) {
  board_.Put({.space = space.id, .epoch = space.epoch, .home = space.home != nullptr ? space.home->name() : std::string(),
              .state = space.rehome, .extents = space.extents.size(), .extents_to_refill = space.extents_to_refill,
              .extents_refilled = space.extents_to_refill - std::min(space.extents_to_refill, space.to_refill.size()),
              .left_at_ns = space.left_at_ns});
}

}  // namespace ashlar::pnode
