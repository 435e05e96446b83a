// Requests about a space and its extents: mapping, unmapping, reading by message, comparing, the end.
#include "daemons/mnode/memory_service.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/status.h"
#include "common/fit/message.h"

namespace ashlar::mnode {
namespace wire = fit::wire;
using fit::Code;
using fit::MessageWriter;
using fit::ReadMessage;
namespace {

// New extents per call: each may cost 4 MiB of memset on this thread (about 1 ms); the pnode asks again for the rest.
constexpr std::uint32_t kMaxNewExtents = 8;
constexpr std::uint32_t kMaxExtentsPerCall = 64;
constexpr std::size_t kMaxSpaces = 65536;  // then kExhausted
constexpr std::uint32_t kAllLayers = 0xFF;

// Runs `work` when the last copy of the returned pointer goes.
template <typename Work>
std::shared_ptr<void> WhenGone(Work work) {
  return std::shared_ptr<void>(nullptr, [work = std::move(work)](void*) mutable { work(); });
}

}  // namespace

bool MemoryService::AdmitOrMake(const fit::RequestView& request, SpaceId id, Epoch epoch, fit::ReplyWriter& reply) {
  const fit::Client& client = request.session->client();
  Space* space = spaces_->Find(id);
  if (space == nullptr) {
    if (spaces_->Ended(id)) return reply.Send(Code::kNotFound), false;
    if (spaces_->size() >= kMaxSpaces) return reply.Send(Code::kExhausted, 0, 0, HintsNow(id, 1000)), false;
    space = &spaces_->Create(id, {client.node, client.incarnation}, epoch);
    spaces_count_.Add();
  } else if (epoch > space->epoch() && space->owner() == SpaceOwner{client.node, client.incarnation}) {
    space->RaiseEpoch(epoch);
  } else {
    return Admit(request, id, epoch, reply) != nullptr;
  }
  if (replicas_ != nullptr) replicas_->AddSpace(*space);
  return true;
}

void MemoryService::MapExtents(const fit::RequestView& request, fit::ReplyWriter reply) {
  wire::MapRequest ask;
  if (request.payload.size() != sizeof(ask)) return Reject(reply);
  std::memcpy(&ask, request.payload.data(), sizeof(ask));
  const SpaceId id(ask.space);
  const Epoch epoch(ask.epoch);
  const std::uint64_t first = ask.first_page / kExtentPages;
  const bool make = (ask.flags & wire::kMapMake) != 0, fill = (ask.flags & wire::kMapFill) != 0, again = (ask.flags & wire::kMapFillAgain) != 0;
  const bool flags_fit = make ? ask.flags <= (wire::kMapMake | wire::kMapFill | wire::kMapFillAgain) && (fill || !again) &&
                                    (ask.flags & wire::kMapThere) == 0 && (!fill || filler_ != nullptr)
                              : ask.flags == wire::kMapThere;
  if (ask.space == 0 || ask.epoch == 0 || ask.extents > kMaxExtentsPerCall || ask.first_page % kExtentPages != 0 ||
      (ask.extents > 0 && !flags_fit) || first + ask.extents > UINT64_MAX / kExtentPages)
    return Reject(reply);
  if (ask.extents > 0 && spaces_->Find(id) == nullptr) return reply.Send(Code::kNotFound);
  if (!AdmitOrMake(request, id, epoch, reply)) return;
  Space* const space = spaces_->Find(id);

  MessageWriter out(reply.payload());
  wire::MapReply head{.pool_incarnation = options_.incarnation.value(), .count = 0, .free_extents = 0};
  out.Put(head);
  std::uint32_t made = 0;
  for (std::uint64_t number = first; number < first + ask.extents; ++number) {
    std::optional<ExtentIndex> extent = space->FindExtent(number);
    if (!extent && !make) continue;
    const bool is_new = !extent;
    if (!extent) {
      if (made == kMaxNewExtents) break;
      absl::StatusOr<ExtentIndex> fresh = space->MapExtent(number);
      if (!fresh.ok()) {
        pool_full_.Add();
        if (refusals_log_.Allow(clock_.NowNs()))
          log::Warn("memory: pool is full, a pnode is told to wait space={} extents={} left_out={}", id.value(),
                    pool_->extent_count(), refusals_log_.TakeLeftOut());
        if (head.count == 0) return reply.Send(Code::kExhausted, 0, 0, HintsNow(id, 100));
        break;
      }
      extent = *fresh;
      ++made;
    }
    if (fill && (is_new || again)) filler_->Fill(id, number);
    // key 0: mapped, but the fabric has no window to give; its pages are read by FetchPages.
    const fabric::RemoteWindow window = grants_->Grant(request.session, *extent).value_or(fabric::RemoteWindow{});
    out.Put(wire::ExtentGrant{.first_page = number * kExtentPages, .base = window.base, .key = window.key.value(),
                              .extent = extent->value(), .generation = pool_->generation(*extent), .layer = 0,
                              .origin = ask.space});
    ++head.count;
  }
  head.free_extents = static_cast<std::uint32_t>(pool_->free_count());
  std::memcpy(reply.payload().data(), &head, sizeof(head));
  reply.Send(Code::kOk, out.size(), 0, HintsNow(id));
}

void MemoryService::UnmapExtents(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = ReadMessage<wire::SpaceList, wire::u64>(request.payload, kMaxExtentsPerCall);
  if (!message || (message->head.flags != 0 && message->head.flags != kAllLayers)) return Reject(reply);
  for (std::uint32_t i = 0; i < message->head.count; ++i)
    if (message->item(i) % kExtentPages != 0) return Reject(reply);
  Space* space = Admit(request, SpaceId(message->head.space), Epoch(message->head.epoch), reply);
  if (space == nullptr) return;
  auto answer = WhenGone([reply = std::move(reply)]() mutable { reply.Send(Code::kOk); });
  for (std::uint32_t i = 0; i < message->head.count; ++i)
    if (const auto extent = space->UnmapExtent(message->item(i) / kExtentPages)) FreeExtent(*extent, answer);
}

void MemoryService::FetchPages(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = ReadMessage<wire::SpaceList, wire::PageWant>(request.payload, wire::kMaxPagesPerCall);
  if (!message || message->head.count == 0) return Reject(reply);
  const Space* space = Admit(request, SpaceId(message->head.space), Epoch(message->head.epoch), reply);
  if (space == nullptr) return;
  const std::span<std::byte> bulk = reply.bulk();
  if (bulk.size() < message->head.count * kPageBytes) return reply.Send(Code::kExhausted, 0, 0, HintsNow(space->id(), 1));

  MessageWriter out(reply.payload());
  out.Put(wire::ListReply{.next = 0, .count = message->head.count, .flags = 0});
  std::uint32_t pages = 0;
  for (std::uint32_t i = 0; i < message->head.count; ++i) {
    const wire::PageWant want = message->item(i);
    const Frame* frame = space->Find(PageNumber(want.page));
    wire::PageHave have{.origin = message->head.space, .page = want.page, .version = 0, .crc32c = 0,
                        .bulk_index = wire::kNoBulk, .code = static_cast<std::uint32_t>(Code::kNotFound), .layer = 0};
    if (frame != nullptr) have.version = frame->version;
    if (frame != nullptr && frame->state != FrameState::kEmpty && frame->version >= want.min_version) {
      have.crc32c = frame->crc32c;
      have.code = static_cast<std::uint32_t>(Code::kOk);
      if (frame->state == FrameState::kPage) {
        have.bulk_index = pages;
        std::memcpy(bulk.data() + pages++ * kPageBytes, space->BytesOf(PageNumber(want.page)).data(), kPageBytes);
      }
    }
    out.Put(have);
  }
  fetched_pages_.Add(message->head.count);
  reply.Send(Code::kOk, out.size(), static_cast<std::uint32_t>(pages * kPageBytes), HintsNow(space->id()));
}

// Which versions an extent holds: how a pnode finds that a new home has what the old one had acknowledged.
void MemoryService::Compare(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = ReadMessage<wire::CompareRequest, wire::u64>(request.payload, 0);
  if (!message || message->head.mode != static_cast<std::uint32_t>(wire::CompareMode::kPages)) return Reject(reply);
  const Space* space = Admit(request, SpaceId(message->head.space), Epoch(message->head.epoch), reply);
  if (space == nullptr) return;
  const std::uint64_t number = message->head.first_page / kExtentPages, end = (number + 1) * kExtentPages;
  wire::ListReply head{.next = wire::kNoNextPage, .count = 0, .flags = 0};
  MessageWriter out(reply.payload());
  out.Put(head);
  if (filler_ != nullptr && filler_->Filling(space->id(), number)) head.flags = wire::kCompareFilling;
  for (std::uint64_t page = message->head.first_page; page < end && head.flags == 0; ++page) {
    const Frame* frame = space->Find(PageNumber(page));
    if (frame == nullptr) break;  // no such extent here
    if (frame->state == FrameState::kEmpty) continue;
    if (head.count == wire::kMaxMarks) {
      head.next = page;
      break;
    }
    out.Put(wire::PageMark{.page = page, .version = frame->version, .crc32c = frame->crc32c, .reserved = 0});
    ++head.count;
  }
  std::memcpy(reply.payload().data(), &head, sizeof(head));
  reply.Send(Code::kOk, out.size(), 0, HintsNow(space->id()));
}

void MemoryService::DestroySpace(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = ReadMessage<wire::SpaceList, wire::u64>(request.payload, 0);
  if (!message || message->head.space == 0 || message->head.epoch == 0 || (message->head.flags & ~wire::kDestroyHereOnly) != 0) return Reject(reply);
  const SpaceId id(message->head.space);
  if (message->head.flags == wire::kDestroyHereOnly) {  // its pnode has moved it to another home
    Space* space = Admit(request, id, Epoch(message->head.epoch), reply);
    if (space == nullptr) return;
    FreeSpace(*space, nullptr, Afterwards::kMayReturn);
    if (replicas_ != nullptr) replicas_->LeaveSpace(id);
    return reply.Send(Code::kOk);
  }
  if (spaces_->Find(id) != nullptr) {
    Space* space = Admit(request, id, Epoch(message->head.epoch), reply);
    if (space == nullptr) return;
    FreeSpace(*space, nullptr, Afterwards::kEnded);
  }
  spaces_->RememberEnded(id);
  if (replicas_ == nullptr) return reply.Send(Code::kOk);
  // Also for a space that is not known here: this mnode may have restarted, and the snode still keeps it.
  replicas_->EndSpace(id, Epoch(message->head.epoch), AnswerBy(request), [reply = std::move(reply)](bool confirmed) mutable {
    reply.Send(confirmed ? Code::kOk : Code::kUnavailable, 0, 0, {.retry_after_ms = confirmed ? std::uint16_t{0} : std::uint16_t{100}});
  });
}

void MemoryService::FreeExtent(ExtentIndex extent, std::shared_ptr<void> until_freed) {
  grants_->RevokeAll(extent, [this, extent, until_freed = std::move(until_freed), alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) pool_->Release(extent);
  });
}

void MemoryService::FreeSpace(Space& space, const std::shared_ptr<void>& until_freed, Afterwards afterwards) {
  for (const ExtentIndex extent : space.UnmapAll()) FreeExtent(extent, until_freed);
  if (afterwards == Afterwards::kEnded) spaces_->End(space.id());
  else spaces_->Forget(space.id());
  spaces_count_.Sub();
}

}  // namespace ashlar::mnode
