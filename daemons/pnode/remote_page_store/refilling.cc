// How a new home gets the pages of a space: it is asked to map an extent and to fill it from the storage nodes; when it says
// that it has, its list of versions is compared with ours. Only then is the extent read one-sided.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemons/pnode/remote_page_store/remote_page_store.h"

namespace ashlar::pnode {
namespace wire = fit::wire;
namespace {

constexpr std::uint64_t kLookAgainNs = 5'000'000;    // the home is still filling it
constexpr std::uint64_t kFillAgainNs = 500'000'000;  // it had not everything: a storage node may be back by then

}  // namespace

void RemotePageStore::PumpRefill(RemoteSpace& space) {
  if (space.ending || space.home == nullptr) return;
  if (space.to_refill.empty()) {
    Apply(space, RehomeEvent::kAllProved);
    refill_ns_.Add(Now() - space.left_at_ns);
    if (space.epoch > Epoch(1))
      log::Info("page store: a space is whole at its new memory node space={:x} home={} extents={} after_ms={}", space.id.value(),
                space.home->name(), space.extents_to_refill, (Now() - space.left_at_ns) / 1'000'000);
    for (HomeLink& home : homes_) ReleaseFormers(home);
    return RetryFetches();
  }
  PumpMap(space);
  SendCompare(space);
}

// Asks the home for the next extent: one in which somebody waits, else in order. False: enough are on their way.
bool RemotePageStore::SendRefillMap(RemoteSpace& space) {
  std::size_t under_way = 0;
  for (const std::uint64_t number : space.to_refill) under_way += space.extents.at(number).refill->step != ExtentRefill::Step::kIdle;
  if (under_way >= kMaxRefilling) return false;
  const auto ready = [&](std::uint64_t number) {
    const RemoteExtent* extent = space.to_refill.contains(number) ? space.FindNumber(number) : nullptr;
    return extent != nullptr && extent->refill->step == ExtentRefill::Step::kIdle && Now() >= extent->refill->not_before_ns;
  };
  std::uint64_t chosen = UINT64_MAX;
  while (chosen == UINT64_MAX && !space.missed.empty()) {
    if (ready(space.missed.front())) chosen = space.missed.front();
    space.missed.pop_front();
  }
  for (auto it = space.to_refill.begin(); chosen == UINT64_MAX && it != space.to_refill.end(); ++it)
    if (ready(*it)) chosen = *it;
  if (chosen == UINT64_MAX) return ArmTick(), false;
  ExtentRefill& refill = *space.extents.at(chosen).refill;
  refill.step = ExtentRefill::Step::kMapping;
  SendMap(space, chosen, 1, wire::kMapMake | wire::kMapFill | (refill.again ? wire::kMapFillAgain : 0));
  if (!space.map_busy) refill.step = ExtentRefill::Step::kIdle;  // not sent
  return true;
}

void RemotePageStore::OnRefillMapped(RemoteSpace& space, std::uint64_t number) {
  RemoteExtent* extent = space.FindNumber(number);
  if (extent == nullptr || extent->refill == nullptr) return;
  extent->refill->step = ExtentRefill::Step::kFilling;
  extent->refill->cursor = number * kExtentPages;
  extent->refill->not_before_ns = 0;
  extent->refill->proved.reset();
  SendCompare(space);
}

void RemotePageStore::SendCompare(RemoteSpace& space) {
  if (space.compare_busy || space.home == nullptr || !space.home->up()) return;
  for (const std::uint64_t number : space.to_refill) {
    ExtentRefill& refill = *space.extents.at(number).refill;
    if (refill.step != ExtentRefill::Step::kFilling && refill.step != ExtentRefill::Step::kComparing) continue;
    if (Now() < refill.not_before_ns) {
      ArmTick();
      continue;
    }
    ControlCall& call = NewControl(space, wire::Opcode::kCompare);
    call.first = number;
    const wire::CompareRequest request{.space = space.id.value(), .epoch = space.epoch.value(), .first_page = refill.cursor,
                                       .count = 0, .mode = static_cast<std::uint32_t>(wire::CompareMode::kPages)};
    StartControl(space, call, std::as_bytes(std::span(&request, 1)));
    return;
  }
}

void RemotePageStore::CompareDone(ControlCall& call, const fit::CallResult& result) {
  RemoteSpace& space = *call.space;
  if (space.home != call.home || !space.lost.ok()) return;  // left meanwhile
  RemoteExtent* extent = space.FindNumber(call.first);
  if (extent == nullptr || extent->refill == nullptr) return;
  ExtentRefill& refill = *extent->refill;
  if (!result.status.ok()) {
    if (!LostBy(space, result.code)) refill.not_before_ns = Now() + kLookAgainNs;
    return;
  }
  const std::uint64_t base = call.first * kExtentPages;
  wire::ListReply head{};
  if (result.payload.size() >= sizeof(head)) std::memcpy(&head, result.payload.data(), sizeof(head));
  const bool fits = result.payload.size() >= sizeof(head) && head.count <= wire::kMaxMarks &&
                    result.payload.size() == sizeof(head) + head.count * sizeof(wire::PageMark) &&
                    (head.next == wire::kNoNextPage || (head.next > refill.cursor && head.next < base + kExtentPages));
  if (!fits || (head.flags & wire::kCompareFilling) != 0) {
    refill.not_before_ns = Now() + kLookAgainNs;
    return;
  }
  refill.step = ExtentRefill::Step::kComparing;
  for (std::uint32_t i = 0; i < head.count; ++i) {
    wire::PageMark mark;
    std::memcpy(&mark, result.payload.data() + sizeof(head) + i * sizeof(mark), sizeof(mark));
    if (mark.page < base || mark.page >= base + kExtentPages) continue;
    // A higher version than the acknowledged one is a write-back whose answer is not here yet: until it is, nobody reads.
    if (mark.version >= extent->AckedAt(mark.page - base)) refill.proved.set(mark.page - base);
  }
  if (head.next != wire::kNoNextPage) {
    refill.cursor = head.next;
    return;
  }
  CheckProved(space, call.first);
}

void RemotePageStore::CheckProved(RemoteSpace& space, std::uint64_t number) {
  RemoteExtent& extent = space.extents.at(number);
  std::size_t missing = 0;
  for (std::size_t page = 0; page < kExtentPages; ++page) missing += extent.AckedAt(page) != 0 && !extent.refill->proved.test(page);
  if (missing > 0) {
    refills_repeated_.Add();
    if (trouble_log_.Allow(Now()))
      log::Warn("page store: an extent at the new memory node is not whole, it is filled again space={:x} home={} extent={} "
                "missing_pages={} left_out={}", space.id.value(), space.home->name(), number, missing, trouble_log_.TakeLeftOut());
    extent.refill->step = ExtentRefill::Step::kIdle;
    extent.refill->again = true;
    extent.refill->not_before_ns = Now() + kFillAgainNs;
    return;
  }
  extent.refill.reset();
  space.to_refill.erase(number);
  if (extent.maybe_there.none()) space.maybe_empty.insert(number);  // trimmed meanwhile
  extents_refilled_.Add();
  Report(space);
}

}  // namespace ashlar::pnode
