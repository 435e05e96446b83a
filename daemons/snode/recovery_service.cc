#include "daemons/snode/recovery_service.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "common/fit/compare.h"
#include "common/fit/message.h"
#include "daemons/snode/outcome_code.h"

namespace ashlar::snode {
namespace wire = fit::wire;
using fit::Code;
namespace {

constexpr std::uint16_t kRetryReadsMs = 5;
// Extents compared in one call: each costs a look at 1024 pages, and the shard has other calls to answer.
constexpr std::size_t kMaxExtents = 32;
static_assert(PageReader::kMaxPages >= wire::kMaxPagesPerCall && kMaxExtents <= wire::kMaxMarks);

// The first page of the next extent of which something is kept.
std::uint64_t NextExtent(const SpaceRecord& space, std::uint64_t extent) {
  const auto next = space.extents.upper_bound(extent);
  return next == space.extents.end() ? wire::kNoNextPage : next->first * kExtentPages;
}

// What is kept, and can be read, of the extent of `first_page` from that page on.
std::vector<wire::PageMark> MarksOf(const SpaceRecord& space, std::uint64_t first_page, std::size_t most, std::uint64_t* next) {
  std::vector<wire::PageMark> marks;
  const std::uint64_t end = (first_page / kExtentPages + 1) * kExtentPages;
  *next = wire::kNoNextPage;
  for (std::uint64_t page = first_page; page < end; ++page) {
    const auto slot = space.pages.find(page);
    if (slot == space.pages.end() || slot->second.bad) continue;
    if (marks.size() == most) {
      *next = page;
      break;
    }
    marks.push_back({.page = page, .version = slot->second.version.value(), .crc32c = slot->second.crc, .reserved = 0});
  }
  return marks;
}

// The reply to RecoverRead, once the disk has answered.
void SendPages(fit::ReplyWriter& reply, SpaceId space, std::uint64_t next, std::span<const PageRead> pages) {
  fit::MessageWriter out(reply.payload());
  const std::span<std::byte> bulk = reply.bulk();
  out.Put(wire::ListReply{.next = next, .count = static_cast<std::uint32_t>(pages.size()), .flags = 0});
  std::uint32_t bulk_pages = 0;
  for (const PageRead& page : pages) {
    wire::PageHave have{.origin = space.value(), .page = page.page.value(), .version = page.stored.version.value(),
                        .crc32c = page.stored.crc, .bulk_index = wire::kNoBulk, .code = static_cast<std::uint32_t>(Code::kOk), .layer = 0};
    if (page.verdict == ReadVerdict::kNotFound) have.code = static_cast<std::uint32_t>(Code::kNotFound);
    if (page.verdict == ReadVerdict::kBad) have.code = static_cast<std::uint32_t>(Code::kDataLoss);
    if (!page.bytes.empty()) {
      if (bulk.size() < (bulk_pages + 1) * kPageBytes) return reply.Send(Code::kUnavailable);  // the link shrank meanwhile
      std::memcpy(bulk.data() + bulk_pages * kPageBytes, page.bytes.data(), kPageBytes);
      have.bulk_index = bulk_pages++;
    }
    out.Put(have);
  }
  reply.Send(Code::kOk, out.size(), bulk_pages * static_cast<std::uint32_t>(kPageBytes));
}

}  // namespace

const SpaceRecord* RecoveryService::FindFor(std::uint64_t space, std::uint64_t epoch, fit::ReplyWriter* reply) const {
  const SpaceAnswer answer = log_.JudgeReader(SpaceId(space), Epoch(epoch));
  const SpaceRecord* record = log_.FindSpace(SpaceId(space));
  if (answer.outcome == Outcome::kTaken && record != nullptr) return record;
  const Code code = answer.outcome == Outcome::kTaken ? Code::kNotFound : CodeOf(answer.outcome);
  fit::MessageWriter out(reply->payload());
  out.Put(wire::ListReply{.next = answer.epoch.value(), .count = 0, .flags = 0});
  reply->Send(code, out.size());
  return nullptr;
}

void RecoveryService::Fence(const fit::RequestView& request, fit::ReplyWriter reply) {
  wire::FenceRequest fence;
  if (request.payload.size() != sizeof(fence)) return malformed_(std::move(reply));
  std::memcpy(&fence, request.payload.data(), sizeof(fence));
  const fit::Client& client = request.session->client();
  const NodeInstance owner{NodeId(fence.owner_node), Incarnation(fence.owner_incarnation)};
  if (owner != NodeInstance{client.node, client.incarnation}) return malformed_(std::move(reply));
  auto writer = std::make_shared<fit::ReplyWriter>(std::move(reply));
  const absl::Status status = log_.Fence(SpaceId(fence.space), Epoch(fence.epoch), owner,
                                         [writer](const SpaceAnswer& answer) { SendFenceReply(std::move(*writer), answer); });
  if (absl::IsInvalidArgument(status)) return malformed_(std::move(*writer));
  if (!status.ok()) writer->Send(Code::kUnavailable);
}

void RecoveryService::RecoverRead(const fit::RequestView& request, fit::ReplyWriter reply) {
  wire::RecoverRequest want;
  if (request.payload.size() < sizeof(want)) return malformed_(std::move(reply));
  std::memcpy(&want, request.payload.data(), sizeof(want));
  const std::span<const std::byte> items = request.payload.subspan(sizeof(want));
  const bool scan = want.mode == static_cast<std::uint32_t>(wire::RecoverMode::kScan);
  if ((!scan && want.mode != static_cast<std::uint32_t>(wire::RecoverMode::kList)) || want.count == 0 ||
      want.count > wire::kMaxPagesPerCall || items.size() != (scan ? 0 : want.count * sizeof(std::uint64_t)) ||
      want.first_page >= kMaxPageNumber)
    return malformed_(std::move(reply));
  const SpaceRecord* space = FindFor(want.space, want.epoch, &reply);
  if (space == nullptr) return;
  std::vector<PageNumber> pages;
  std::uint64_t next = 0;
  if (scan) {
    const std::uint64_t extent = want.first_page / kExtentPages;
    next = NextExtent(*space, extent);
    for (std::uint64_t page = want.first_page; page < (extent + 1) * kExtentPages && next != page; ++page) {
      if (!space->pages.contains(page)) continue;
      if (pages.size() < want.count)
        pages.emplace_back(page);
      else
        next = page--;  // ends the loop
    }
  }
  for (std::size_t i = 0; i < items.size() / sizeof(std::uint64_t); ++i) {
    std::uint64_t page;
    std::memcpy(&page, items.data() + i * sizeof(page), sizeof(page));
    if (page >= kMaxPageNumber) return malformed_(std::move(reply));
    pages.emplace_back(page);
  }
  auto writer = std::make_shared<fit::ReplyWriter>(std::move(reply));
  const absl::Status status =
      log_.ReadPages(SpaceId(want.space), pages, [writer, id = SpaceId(want.space), next](std::span<const PageRead> read) {
        SendPages(*writer, id, next, read);
      });
  if (absl::IsResourceExhausted(status)) return writer->Send(Code::kExhausted, 0, 0, {.retry_after_ms = kRetryReadsMs});
  if (!status.ok()) writer->Send(Code::kUnavailable);
}

void RecoveryService::Compare(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = fit::ReadMessage<wire::CompareRequest, wire::PageMark>(request.payload, 0);
  const bool extents = message && message->head.mode == static_cast<std::uint32_t>(wire::CompareMode::kExtents);
  if (!message || message->head.first_page >= kMaxPageNumber ||
      (!extents && message->head.mode != static_cast<std::uint32_t>(wire::CompareMode::kPages)))
    return malformed_(std::move(reply));
  const SpaceRecord* space = FindFor(message->head.space, message->head.epoch, &reply);
  if (space == nullptr) return;
  std::vector<wire::PageMark> marks;
  std::uint64_t next = wire::kNoNextPage;
  if (extents) {
    std::size_t looked = 0;
    auto extent = space->extents.lower_bound(message->head.first_page / kExtentPages);
    for (; extent != space->extents.end() && looked < kMaxExtents; ++extent, ++looked) {
      std::uint64_t ignored;
      const std::uint64_t first = extent->first * kExtentPages;
      const std::vector<wire::PageMark> pages = MarksOf(*space, first, kExtentPages, &ignored);
      if (!pages.empty()) marks.push_back(fit::ExtentMark(first, pages));
    }
    if (extent != space->extents.end()) next = extent->first * kExtentPages;
    // Its home has seen all that is kept, and sends what is missing.
    if (next == wire::kNoNextPage && request.session->client().node == space->open.home.node)
      log_.ClearSuspect(SpaceId(message->head.space));
  } else {
    marks = MarksOf(*space, message->head.first_page, wire::kMaxMarks, &next);
  }
  fit::MessageWriter out(reply.payload());
  out.Put(wire::ListReply{.next = next, .count = static_cast<std::uint32_t>(marks.size()), .flags = 0});
  for (const wire::PageMark& mark : marks) out.Put(mark);
  reply.Send(Code::kOk, out.size());
}

void RecoveryService::SpaceState(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = fit::ReadMessage<wire::SpaceList, wire::u64>(request.payload, 0);
  if (!message || message->head.flags != 0) return malformed_(std::move(reply));
  const SpaceRecord* space = FindFor(message->head.space, message->head.epoch, &reply);
  if (space == nullptr) return;
  const auto bad = static_cast<std::uint32_t>(std::min<std::size_t>(space->bad_pages.size(), wire::kMaxBadPages));
  fit::MessageWriter out(reply.payload());
  out.Put(wire::SpaceStateReply{.epoch = space->open.epoch.value(), .view = space->open.view,
                                .count = static_cast<std::uint32_t>(space->open.replicas.size()), .bad_pages = bad,
                                .flags = log_.IsSuspect(SpaceId(message->head.space)) ? wire::kStateUnknownLoss : 0, .reserved = 0});
  for (const ReplicaRef& replica : space->open.replicas)
    out.Put(wire::SnodeRef{.node = replica.node.value(), .state = replica.state, .reserved = 0});
  auto page = space->bad_pages.begin();
  for (std::uint32_t i = 0; i < bad; ++i, ++page)
    out.Put(wire::BadPage{.space = message->head.space, .page = *page, .version = space->pages.at(*page).version.value()});
  reply.Send(Code::kOk, out.size());
}

}  // namespace ashlar::snode
