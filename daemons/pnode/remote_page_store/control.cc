// The calls about a space as a whole: mapping its extents, trims, unmapping, its end. One MapExtents, one Compare and one
// other call per space are under way at a time; each is repeated until the home confirms it.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/container/btree_set.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "daemons/pnode/remote_page_store/remote_page_store.h"

namespace ashlar::pnode {
namespace wire = fit::wire;
using fit::Code;
using wire::Opcode;
namespace {

constexpr std::uint32_t kMaxExtentsPerCall = 64;
constexpr std::uint32_t kAllLayers = 0xFF;
constexpr std::uint64_t kMaxTrimPages = std::uint64_t{1} << 31;  // of one range on the wire; a home takes up to 2^32 - 1
constexpr std::uint64_t kRetryNs = 50'000'000;

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

std::uint64_t RetryAfter(std::uint64_t now_ns, const fit::CallResult& result) {
  return now_ns + std::max(kRetryNs, std::uint64_t{result.hints.retry_after_ms} * 1'000'000);
}

}  // namespace

void RemotePageStore::Trim(SpaceId id, std::span<const TrimRange> ranges) {
  RemoteSpace* space = FindSpace(id);
  if (space == nullptr || space->ending || !space->lost.ok()) return;
  for (const TrimRange& range : ranges) {
    const std::uint64_t first = range.first_page.value(), end = first + range.page_count;
    ASHLAR_CHECK(range.page_count > 0 && end > first, "a trim of {} pages from {}", range.page_count, first);
    // Most of what programs drop never left them: what cannot be at the home need not be trimmed there. And a trim may come
    // late, when no forked child needs the old version any more: what was written since then stays.
    bool maybe_there = false;
    absl::btree_set<std::uint64_t> newer;  // pages on their way with a version that the trim spares
    for (const WriteBackOp& op : write_backs_) {
      if (op.state == WriteBackOp::State::kFree || op.space != space) continue;
      for (std::size_t i = 0; i < op.count; ++i) {
        const std::uint64_t page = op.pages[i].page.value();
        if (page < first || page >= end) continue;
        maybe_there = maybe_there || op.state == WriteBackOp::State::kWaiting;
        if (op.pages[i].version > range.up_to_version) newer.insert(page);
      }
    }
    for (auto it = space->extents.lower_bound(first / kExtentPages); it != space->extents.end() && it->first * kExtentPages < end; ++it) {
      const std::uint64_t base = it->first * kExtentPages;
      RemoteExtent& extent = it->second;
      if (extent.maybe_there.none()) continue;
      for (std::uint64_t page = std::max(first, base); page < std::min(end, base + kExtentPages); ++page) {
        maybe_there = maybe_there || extent.maybe_there.test(page - base);
        if (extent.AckedAt(page - base) <= range.up_to_version.value() && !newer.contains(page)) extent.Forget(page - base);
      }
      if (extent.maybe_there.none()) space->maybe_empty.insert(it->first);
    }
    if (!maybe_there) {
      trims_skipped_.Add();
      continue;
    }
    for (std::uint64_t from = first; from < end; from += kMaxTrimPages) {
      const TrimRange part{PageNumber(from), std::min(end - from, kMaxTrimPages), range.up_to_version};
      if (!space->trims.Add(part, last_ticket_)) trims_dropped_.Add();
    }
  }
  PumpControl(*space);
}

void RemotePageStore::PumpSpace(RemoteSpace& space) {
  PumpRehome(space);
  PumpMap(space);
  PumpControl(space);
}

void RemotePageStore::PumpMap(RemoteSpace& space) {
  if (space.map_busy || space.ending || !space.lost.ok() || space.home == nullptr || !space.home->up()) return;
  if (space.created() && space.make_wanted.empty() && space.window_wanted.empty() && space.to_refill.empty()) return;
  if (Now() < space.map_retry_at_ns) return ArmTick();
  if (!space.created()) return SendMap(space, 0, 0, 0);
  if (space.make_wanted.empty() && SendRefillMap(space)) return;
  if (space.make_wanted.empty() && space.window_wanted.empty()) return;

  auto& wanted = space.make_wanted.empty() ? space.window_wanted : space.make_wanted;
  const std::uint64_t first = *wanted.begin();
  if (&wanted == &space.window_wanted) return SendMap(space, first, kMaxExtentsPerCall, wire::kMapThere);
  // One that is to be refilled is asked for by itself, so that the home begins to fill it with the same call.
  const auto refill = [&space](std::uint64_t number) { return space.to_refill.contains(number); };
  if (refill(first)) return SendMap(space, first, 1, wire::kMapMake | wire::kMapFill);
  std::uint32_t count = 0;
  while (count < kMaxExtentsPerCall && wanted.contains(first + count) && !refill(first + count)) ++count;
  SendMap(space, first, count, wire::kMapMake);
}

void RemotePageStore::PumpControl(RemoteSpace& space) {
  if (space.control_busy || space.home == nullptr || !space.home->up()) return;
  const bool has_work = space.ending || !space.trims.empty() || !space.maybe_empty.empty();
  if (!has_work || (!space.ending && !space.created())) return;
  if (Now() < space.control_retry_at_ns) return ArmTick();
  if (space.ending) {
    if (space.active == 0 && !space.map_busy && !space.compare_busy && space.fences_busy == 0) SendDestroy(space);
    return;
  }
  if (space.maybe_empty.size() >= kMaxExtentsPerCall && SendUnmap(space)) return;
  SendTrims(space);
  if (!space.control_busy && space.trims.empty()) SendUnmap(space);
}

RemotePageStore::ControlCall& RemotePageStore::NewControl(RemoteSpace& space, Opcode opcode) {
  ControlCall& call = *control_calls_.Take();
  call.store = this;
  call.home = space.home;
  call.space = &space;
  call.opcode = opcode;
  call.count = 0;
  call.erase_space = false;
  return call;
}

bool& RemotePageStore::BusyFlag(RemoteSpace& space, Opcode opcode) {
  if (opcode == Opcode::kMapExtents) return space.map_busy;
  return opcode == Opcode::kCompare ? space.compare_busy : space.control_busy;
}

bool RemotePageStore::StartControl(RemoteSpace& space, ControlCall& call, std::span<const std::byte> payload) {
  if (!call.home->connection->Start(call.opcode, payload, {}, {Now() + options_.control_timeout_ns}, call).ok()) {
    control_calls_.Give(&call);
    ArmTick();  // FIT's queue is full
    return false;
  }
  call.busy = BusyFlag(space, call.opcode) = true;
  return true;
}

void RemotePageStore::SendMap(RemoteSpace& space, std::uint64_t first, std::uint32_t extents, std::uint32_t flags) {
  ControlCall& call = NewControl(space, Opcode::kMapExtents);
  call.first = first;
  call.count = extents;
  call.flags = flags;
  const wire::MapRequest request{.space = space.id.value(), .epoch = space.epoch.value(), .first_page = first * kExtentPages,
                                 .extents = extents, .flags = flags};
  if (StartControl(space, call, BytesOf(request))) map_calls_.Add();
}

void RemotePageStore::SendTrims(RemoteSpace& space) {
  std::array<wire::TrimRange, wire::kMaxTrimRanges> ranges;
  const std::size_t count = space.trims.Peek(OldestTicket(space), ranges);
  if (count == 0) return;
  std::array<std::byte, sizeof(wire::SpaceList) + sizeof(ranges)> payload;
  const wire::SpaceList head{.space = space.id.value(), .epoch = space.epoch.value(), .view = 0,
                             .count = static_cast<std::uint32_t>(count), .flags = 0};
  std::memcpy(payload.data(), &head, sizeof(head));
  std::memcpy(payload.data() + sizeof(head), ranges.data(), count * sizeof(wire::TrimRange));
  ControlCall& call = NewControl(space, Opcode::kTrim);
  call.count = static_cast<std::uint32_t>(count);
  if (!StartControl(space, call, std::span(payload).first(sizeof(head) + count * sizeof(wire::TrimRange)))) space.trims.SendAgain();
}

// Extents without a page go back to the home's pool, if nothing touches them. False: there is none.
bool RemotePageStore::SendUnmap(RemoteSpace& space) {
  std::array<std::uint64_t, kMaxExtentsPerCall> numbers;
  std::size_t count = 0;
  for (auto it = space.maybe_empty.begin(); it != space.maybe_empty.end() && count < numbers.size();) {
    const auto found = space.extents.find(*it);
    const bool empty = found != space.extents.end() && found->second.maybe_there.none();
    if (empty && !found->second.mapped && found->second.users == 0) {  // nothing of it is at this home
      space.to_refill.erase(*it);
      space.extents.erase(found);
      it = space.maybe_empty.erase(it);
      continue;
    }
    const bool awaited = space.window_wanted.contains(*it) || std::any_of(write_backs_.begin(), write_backs_.end(), [&](const auto& op) {
      return op.state == WriteBackOp::State::kWaiting && op.space == &space;
    });
    const bool refilling = space.to_refill.contains(*it);
    if (empty && (found->second.users > 0 || awaited || refilling)) {
      ++it;  // looked at again when that has ended
      continue;
    }
    if (empty && found->second.mapped) numbers[count++] = *it;
    it = space.maybe_empty.erase(it);
  }
  if (count == 0) return false;
  std::array<std::byte, sizeof(wire::SpaceList) + kMaxExtentsPerCall * sizeof(wire::u64)> payload;
  const wire::SpaceList head{.space = space.id.value(), .epoch = space.epoch.value(), .view = 0,
                             .count = static_cast<std::uint32_t>(count), .flags = kAllLayers};
  std::memcpy(payload.data(), &head, sizeof(head));
  ControlCall& call = NewControl(space, Opcode::kUnmapExtents);
  call.count = static_cast<std::uint32_t>(count);
  for (std::size_t i = 0; i < count; ++i) {
    call.unmapped[i] = numbers[i];
    const wire::u64 first_page = numbers[i] * kExtentPages;
    std::memcpy(payload.data() + sizeof(head) + i * sizeof(first_page), &first_page, sizeof(first_page));
  }
  if (!StartControl(space, call, std::span(payload).first(sizeof(head) + count * sizeof(wire::u64)))) {
    space.maybe_empty.insert(numbers.begin(), numbers.begin() + static_cast<std::ptrdiff_t>(count));
    return false;
  }
  for (std::size_t i = 0; i < count; ++i) space.extents.at(numbers[i]).unmapping = true;
  return true;
}

void RemotePageStore::SendDestroy(RemoteSpace& space) {
  const wire::SpaceList head{.space = space.id.value(), .epoch = space.epoch.value(), .view = 0, .count = 0, .flags = 0};
  StartControl(space, NewControl(space, Opcode::kDestroySpace), BytesOf(head));
}

void RemotePageStore::ControlDone(ControlCall& call, const fit::CallResult& result) {
  RemoteSpace& space = *call.space;
  const bool ok = result.status.ok();
  call.busy = false;
  switch (call.opcode) {
    case Opcode::kMapExtents:
      return MapDone(call, result);
    case Opcode::kCompare:
      return CompareDone(call, result);
    case Opcode::kTrim:
      if (space.ending || !space.lost.ok()) return;  // the queue was cleared
      if (!ok && LostBy(space, result.code)) return space.trims.SendAgain();
      if (ok || result.code == Code::kMalformed) {
        if (!ok) log::Error("page store: trims refused as malformed, a bug here or there home={} space={}", call.home->name(), space.id.value());
        trims_sent_.Add(call.count);
        return space.trims.Confirm(call.count);
      }
      space.trims.SendAgain();
      break;
    case Opcode::kUnmapExtents:
      // Whatever became of it, they are taken for unmapped: asked for again, the home gives the same or new ones, and a
      // version that it may still hold is lower than any that comes.
      for (std::uint32_t i = 0; i < call.count; ++i)
        if (const RemoteExtent* extent = space.FindNumber(call.unmapped[i]); extent != nullptr && extent->unmapping) space.extents.erase(call.unmapped[i]);
      if (ok) extents_unmapped_.Add(call.count);
      return;
    default:  // the end; a home that does not know the space, or not as ours, has nothing to end
      if (ok || result.code == Code::kNotFound || result.code == Code::kStaleEpoch) {
        call.erase_space = true;
        return;
      }
  }
  space.control_retry_at_ns = RetryAfter(Now(), result);
}

void RemotePageStore::MapDone(ControlCall& call, const fit::CallResult& result) {
  RemoteSpace& space = *call.space;
  if (space.home != call.home) return;  // left meanwhile
  if (RemoteExtent* extent = (call.flags & wire::kMapFill) != 0 ? space.FindNumber(call.first) : nullptr;
      extent != nullptr && extent->refill != nullptr && extent->refill->step == ExtentRefill::Step::kMapping)
    extent->refill->step = ExtentRefill::Step::kIdle;  // unless the answer says more
  absl::Status status = result.status.ok() ? TakeGrants(call, result) : result.status;
  if (status.ok()) {
    if (call.count == 0 && space.rehome == RehomeState::kOpening) Apply(space, RehomeEvent::kOpened);
    return;
  }
  if (!result.status.ok() && LostBy(space, result.code)) return;
  space.map_retry_at_ns = RetryAfter(Now(), result);
  if (result.code == Code::kExhausted && !result.status.ok()) {
    call.home->free_extents = 0;
    status = absl::ResourceExhaustedError(absl::StrCat("the pool of memory node ", call.home->name(), " is full"));
    if (trouble_log_.Allow(Now()))
      log::Warn("page store: no memory for write-backs, they wait home={} space={} left_out={}", call.home->name(), space.id.value(),
                trouble_log_.TakeLeftOut());
  }
  for (WriteBackOp& op : write_backs_)
    if (op.state == WriteBackOp::State::kWaiting && op.space == &space) op.waits_for = status;
}

absl::Status RemotePageStore::TakeGrants(ControlCall& call, const fit::CallResult& result) {
  RemoteSpace& space = *call.space;
  wire::MapReply head{};
  if (result.payload.size() >= sizeof(head)) std::memcpy(&head, result.payload.data(), sizeof(head));
  if (head.count > call.count || result.payload.size() < sizeof(head) + head.count * sizeof(wire::ExtentGrant) ||
      head.pool_incarnation != call.home->incarnation.value())
    return absl::UnavailableError(absl::StrCat("memory node ", call.home->name(), " answered a mapping with something else"));
  call.home->free_extents = head.free_extents;
  for (std::uint32_t i = 0; i < head.count; ++i) {
    wire::ExtentGrant grant;
    std::memcpy(&grant, result.payload.data() + sizeof(head) + i * sizeof(grant), sizeof(grant));
    const std::uint64_t number = grant.first_page / kExtentPages;
    if (grant.first_page % kExtentPages != 0 || number < call.first || number - call.first >= call.count ||
        grant.origin != space.id.value() || grant.layer != 0)
      return absl::UnavailableError(absl::StrCat("memory node ", call.home->name(), " granted an extent that was not asked for"));
    const auto [it, added] = space.extents.try_emplace(number);
    if (added) extents_mapped_.Add();
    it->second.mapped = true;
    space.make_wanted.erase(number);
    if ((call.flags & wire::kMapFill) != 0) OnRefillMapped(space, number);
    if (it->second.unmapping) continue;
    it->second.window = {fabric::RemoteKey(grant.key), grant.base, kExtentBytes};
    it->second.window_epoch = call.home->connection->connection_epoch();
  }
  if (call.flags != wire::kMapThere) {
    const bool stuck = call.count > 0 && head.count == 0;
    return stuck ? absl::UnavailableError(absl::StrCat("memory node ", call.home->name(), " granted nothing")) : absl::OkStatus();
  }
  // All there are in that range were named. A page elsewhere in it cannot be had.
  space.window_wanted.erase(space.window_wanted.lower_bound(call.first), space.window_wanted.lower_bound(call.first + call.count));
  for (std::size_t n = waiting_.size(); n > 0; --n) {
    FetchOp* op = waiting_.front();
    waiting_.pop_front();
    const std::uint64_t number = ExtentOf(op->request.page);
    const bool asked = op->space == &space && number >= call.first && number - call.first < call.count;
    const RemoteExtent* extent = space.FindNumber(number);
    if (asked && (extent == nullptr || !extent->mapped) && space.rehome == RehomeState::kServed) {
      FinishFetch(op, absl::DataLossError(absl::StrCat("memory node ", call.home->name(), " has no extent for page ", op->request.page.value())));
    } else {
      waiting_.push_back(op);
    }
  }
  return absl::OkStatus();
}

void RemotePageStore::ControlReleased(ControlCall& call) {
  RemoteSpace& space = *call.space;
  const bool map = call.opcode == Opcode::kMapExtents;
  const bool erase = call.erase_space;
  BusyFlag(space, call.opcode) = false;
  control_calls_.Give(&call);
  if (erase) {
    if (space.home != nullptr) --space.home->spaces;
    board_.Remove(space.id);
    spaces_.erase(space.id);
    for (HomeLink& home : homes_) ReleaseFormers(home);
    return;
  }
  PumpSpace(space);
  if (map) RetryFetches();
  RetryWriteBacks();
}

}  // namespace ashlar::pnode
