#include "daemons/pnode/paging/s3fifo_policy.h"

#include <algorithm>

namespace ashlar::pnode {
namespace {
constexpr int kMaxPassed = 1024;  // pages that go on to their next round in one call: bounds the owner's time
}  // namespace

void S3FifoPolicy::OnResident(std::uint32_t index, Arrival arrival) {
  ResidentSet::Page& page = pages_[index];
  page.queue = arrival.returns > 0 ? kReturned : arrival.stream ? kStream : kFresh;
  page.rounds = static_cast<std::uint8_t>((1u << std::min(arrival.returns, Arrival::kMaxReturns)) - 1);
  OnListed(index);
}

void S3FifoPolicy::OnListed(std::uint32_t index) {
  ResidentSet::Page& page = pages_[index];
  List& list = lists_[page.queue];
  page.previous = list.tail;
  page.next = ResidentSet::kNone;
  page.entered = ++list.clock;
  (list.tail == ResidentSet::kNone ? list.head : pages_[list.tail].next) = index;
  list.tail = index;
  ++list.size;
}

void S3FifoPolicy::OnDrop(std::uint32_t index) {
  ResidentSet::Page& page = pages_[index];
  List& list = lists_[page.queue];
  (page.previous == ResidentSet::kNone ? list.head : pages_[page.previous].next) = page.next;
  (page.next == ResidentSet::kNone ? list.tail : pages_[page.next].previous) = page.previous;
  --list.size;
}

S3FifoPolicy::Queue S3FifoPolicy::Source() {
  const std::uint32_t stream = lists_[kStream].size, fresh = lists_[kFresh].size, returned = lists_[kReturned].size;
  const std::uint32_t total = stream + fresh + returned;
  if (fresh + returned == 0) return kStream;
  if (stream > total / kStreamShare && ++stream_runs_ % kProbe != 0) return kStream;
  return returned == 0 || fresh > total / kFreshShare ? kFresh : kReturned;
}

// The head has rounds left: it goes on to the next one.
void S3FifoPolicy::PassRounds(List& list) {
  for (int passed = 0; passed < kMaxPassed && list.head != ResidentSet::kNone && pages_[list.head].rounds > 0; ++passed) {
    std::uint32_t index = list.head;
    OnDrop(index);
    --pages_[index].rounds;
    OnListed(index);
  }
}

std::size_t S3FifoPolicy::ChooseRun(absl::FunctionRef<std::uint32_t(PageNumber)> find, std::span<std::uint32_t> into) {
  if (into.empty()) return 0;
  const Queue source = Source();
  List& list = lists_[source];
  PassRounds(list);
  if (list.head == ResidentSet::kNone) return 0;
  const std::uint32_t oldest_entered = pages_[list.head].entered;
  const std::uint32_t similar_age = list.size / 2;
  const std::uint64_t window = pages_[list.head].page.value() / kWindowPages * kWindowPages;
  into[0] = list.head;
  std::size_t taken = 1;
  for (std::uint64_t page = window; page < window + kWindowPages && taken < into.size(); ++page) {
    std::uint32_t index = find(PageNumber(page));
    if (index == ResidentSet::kNone || index == into[0]) continue;
    const ResidentSet::Page& neighbour = pages_[index];
    if (neighbour.queue != source || neighbour.rounds > 0 || neighbour.entered - oldest_entered > similar_age) continue;
    into[taken++] = index;
  }
  for (std::size_t i = 0; i < taken; ++i) OnDrop(into[i]);
  return taken;
}

}  // namespace ashlar::pnode
