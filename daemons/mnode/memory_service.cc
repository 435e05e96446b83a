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

constexpr std::uint64_t kTickNs = 1'000'000'000;
// New extents per call: each may cost 4 MiB of memset on this thread (about 1 ms); the pnode asks again for the rest.
constexpr std::uint32_t kMaxNewExtents = 8;
constexpr std::uint32_t kMaxExtentsPerCall = 64;
constexpr std::size_t kMaxSpaces = 65536;  // then kExhausted
constexpr std::uint8_t kFullWriteBatches = 6;  // that a pnode may have under way: its FIT bulk slots less two
constexpr std::uint32_t kLevelHome = 0, kLevelDisk = 2;
constexpr std::uint32_t kAllLayers = 0xFF;

// Runs `work` when the last copy of the returned pointer goes.
template <typename Work>
std::shared_ptr<void> WhenGone(Work work) {
  return std::shared_ptr<void>(nullptr, [work = std::move(work)](void*) mutable { work(); });
}

}  // namespace

absl::StatusOr<std::unique_ptr<MemoryService>> MemoryService::Create(fit::Shard& shard, const MemoryServiceOptions& options,
                                                                     const Clock& clock) {
  if (options.replicas > 1) return absl::UnimplementedError("memory service: replicas must be 0 or 1");
  std::unique_ptr<MemoryService> service(new MemoryService(shard, options, clock));
  ASHLAR_ASSIGN_OR_RETURN(service->pool_, Pool::Create(options.pool_bytes, options.huge_pages));
  absl::StatusOr<std::unique_ptr<fabric::Region>> region = shard.Register(service->pool_->bytes());
  if (!region.ok()) return Annotate(region.status(), absl::StrCat("register the pool of ", options.pool_bytes, " bytes"));
  service->pool_region_ = *std::move(region);
  service->spaces_ = std::make_unique<SpaceTable>(*service->pool_);
  service->grants_ = std::make_unique<GrantTable>(*service->pool_region_, service->pool_->extent_count());
  if (options.replicas > 0) {
    ASHLAR_ASSIGN_OR_RETURN(service->buffers_, BatchBuffers::Create(shard, options.intake_bytes));
    service->calls_.resize(service->buffers_->count());
    service->replicator_ =
        std::make_unique<Replicator>(shard, *service->spaces_, *service->buffers_, options.replicator, clock);
  }
  return service;
}

MemoryService::MemoryService(fit::Shard& shard, const MemoryServiceOptions& options, const Clock& clock)
    : shard_(shard), options_(options), clock_(clock) {}

MemoryService::~MemoryService() = default;

void MemoryService::Handle(const fit::RequestView& request, fit::ReplyWriter reply) {
  if (request.session == nullptr) return reply.Send(Code::kUnavailable);  // its endpoint went; it will come again
  const fit::Client& client = request.session->client();
  const ClientTable::Arrival arrival = clients_.Saw(client);
  if (arrival.seen == ClientTable::Seen::kIsOlder) return AnswerStale(Epoch(0), reply);
  if (arrival.seen == ClientTable::Seen::kReplacedOlder) {
    clients_replaced_.Add();
    EndSpacesOf(arrival.replaced, "a newer incarnation of the pnode came", /*at_snode=*/true);
  }
  switch (request.opcode) {
    case wire::Opcode::kMapExtents: return MapExtents(request, std::move(reply));
    case wire::Opcode::kUnmapExtents: return UnmapExtents(request, std::move(reply));
    case wire::Opcode::kFetchPages: return FetchPages(request, std::move(reply));
    case wire::Opcode::kWriteBack: return WriteBack(request, std::move(reply));
    case wire::Opcode::kTrim: return Trim(request, std::move(reply));
    case wire::Opcode::kDestroySpace: return DestroySpace(request, std::move(reply));
    case wire::Opcode::kAppendPages:  // the storage nodes'
    case wire::Opcode::kOpenSpace:
    case wire::Opcode::kFenceEpoch:
    case wire::Opcode::kRecoverRead:
    case wire::Opcode::kCompare:
    case wire::Opcode::kSpaceState:
      break;
  }
  reply.Send(Code::kUnknownOpcode);
}

void MemoryService::AnswerStale(Epoch current, fit::ReplyWriter& reply) {
  stale_epoch_.Add();
  MessageWriter out(reply.payload());
  out.Put(wire::ListReply{.next = current.value(), .count = 0, .flags = 0});
  reply.Send(Code::kStaleEpoch, out.size());
}

void MemoryService::Reject(fit::ReplyWriter& reply) {
  malformed_.Add();
  reply.Send(Code::kMalformed);
}

Space* MemoryService::Admit(const fit::RequestView& request, SpaceId id, Epoch epoch, fit::ReplyWriter& reply) {
  Space* space = spaces_->Find(id);
  if (space == nullptr) return reply.Send(Code::kNotFound), nullptr;
  const fit::Client& client = request.session->client();
  if (space->owner() != SpaceOwner{client.node, client.incarnation} || epoch < space->epoch())
    return AnswerStale(space->epoch(), reply), nullptr;
  if (epoch > space->epoch()) return Reject(reply), nullptr;  // only MapExtents raises it
  return space;
}

void MemoryService::MapExtents(const fit::RequestView& request, fit::ReplyWriter reply) {
  wire::MapRequest ask;
  if (request.payload.size() != sizeof(ask)) return Reject(reply);
  std::memcpy(&ask, request.payload.data(), sizeof(ask));
  const SpaceId id(ask.space);
  const Epoch epoch(ask.epoch);
  const std::uint64_t first = ask.first_page / kExtentPages;
  if (ask.space == 0 || ask.epoch == 0 || ask.extents > kMaxExtentsPerCall || ask.first_page % kExtentPages != 0 ||
      (ask.extents > 0 && ask.flags != 1 && ask.flags != 2) || first + ask.extents > UINT64_MAX / kExtentPages)
    return Reject(reply);

  Space* space = spaces_->Find(id);
  if (space == nullptr) {
    if (ask.extents > 0 || spaces_->Ended(id)) return reply.Send(Code::kNotFound);
    if (spaces_->size() >= kMaxSpaces) return reply.Send(Code::kExhausted, 0, 0, HintsNow(1000));
    const fit::Client& client = request.session->client();
    space = &spaces_->Create(id, {client.node, client.incarnation}, epoch);
    spaces_count_.Add();
    if (replicator_ != nullptr) replicator_->AddSpace(*space);
  } else if (epoch > space->epoch() &&
             space->owner() == SpaceOwner{request.session->client().node, request.session->client().incarnation}) {
    space->RaiseEpoch(epoch);
    if (replicator_ != nullptr) replicator_->AddSpace(*space);
  } else if (Admit(request, id, epoch, reply) == nullptr) {
    return;
  }

  MessageWriter out(reply.payload());
  wire::MapReply head{.pool_incarnation = options_.incarnation.value(), .count = 0, .reserved = 0};
  out.Put(head);
  std::uint32_t made = 0;
  for (std::uint64_t number = first; number < first + ask.extents; ++number) {
    std::optional<ExtentIndex> extent = space->FindExtent(number);
    if (!extent && ask.flags == 2) continue;
    if (!extent) {
      if (made == kMaxNewExtents) break;
      absl::StatusOr<ExtentIndex> fresh = space->MapExtent(number);
      if (!fresh.ok()) {
        pool_full_.Add();
        if (refusals_log_.Allow(clock_.NowNs()))
          log::Warn("memory: pool is full, a pnode is told to wait space={} extents={} left_out={}", id.value(),
                    pool_->extent_count(), refusals_log_.TakeLeftOut());
        if (head.count == 0) return reply.Send(Code::kExhausted, 0, 0, HintsNow(100));
        break;
      }
      extent = *fresh;
      ++made;
    }
    // key 0: mapped, but the fabric has no window to give; its pages are read by FetchPages.
    const fabric::RemoteWindow window = grants_->Grant(request.session, *extent).value_or(fabric::RemoteWindow{});
    out.Put(wire::ExtentGrant{.first_page = number * kExtentPages, .base = window.base, .key = window.key.value(),
                              .extent = extent->value(), .generation = pool_->generation(*extent), .layer = 0,
                              .origin = ask.space});
    ++head.count;
  }
  std::memcpy(reply.payload().data(), &head, sizeof(head));
  reply.Send(Code::kOk, out.size(), 0, HintsNow());
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
  if (bulk.size() < message->head.count * kPageBytes) return reply.Send(Code::kExhausted, 0, 0, HintsNow(1));

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
  reply.Send(Code::kOk, out.size(), static_cast<std::uint32_t>(pages * kPageBytes), HintsNow());
}

void MemoryService::WriteBack(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = ReadMessage<wire::SpaceList, wire::PageDirty>(request.payload, wire::kMaxPagesPerCall);
  if (!message || message->head.count == 0 || request.bulk.size() % kPageBytes != 0 || (message->head.flags & 0xFF) > 2)
    return Reject(reply);
  Space* space = Admit(request, SpaceId(message->head.space), Epoch(message->head.epoch), reply);
  if (space == nullptr) return;
  const std::size_t bulk_pages = request.bulk.size() / kPageBytes;
  for (std::uint32_t i = 0; i < message->head.count; ++i) {  // the whole call is right, or nothing is touched
    const wire::PageDirty dirty = message->item(i);
    if (dirty.version == 0 || dirty.version > kMaxVersion || (dirty.bulk_index != wire::kNoBulk && dirty.bulk_index >= bulk_pages) ||
        space->Find(PageNumber(dirty.page)) == nullptr)
      return Reject(reply);
  }
  Batch* batch = nullptr;
  if (buffers_ != nullptr && (batch = buffers_->Take(space->id())) == nullptr) {
    intake_full_.Add();
    return reply.Send(Code::kExhausted, 0, 0, HintsNow(20));
  }
  write_backs_.Add();
  WriteBackCall local;
  WriteBackCall& call = batch != nullptr ? calls_[batch->index()] : local;
  call.count = message->head.count;
  call.started_ns = clock_.NowNs();
  std::size_t sent = 0;
  for (std::uint32_t i = 0; i < call.count; ++i) {
    const wire::PageDirty dirty = message->item(i);
    std::span<const std::byte> bytes;
    if (dirty.bulk_index != wire::kNoBulk) bytes = request.bulk.subspan(dirty.bulk_index * kPageBytes, kPageBytes);
    if (TakePage(*space, dirty, bytes, batch, call.results[i])) call.result_of[sent++] = static_cast<std::uint8_t>(i);
  }
  if (sent > 0) {
    call.reply.emplace(std::move(reply));
    replicator_->Append(*batch, AnswerBy(request), *this);
    return;
  }
  if (batch != nullptr) replicator_->Drop(*batch);
  SendResults(reply, std::span(call.results).first(call.count));
}

bool MemoryService::TakePage(Space& space, const wire::PageDirty& dirty, std::span<const std::byte> bytes, Batch* batch,
                             wire::PageResult& result) {
  const PageVersion version{PageNumber(dirty.page), Version(dirty.version), dirty.crc32c};
  const Frame& frame = *space.Find(version.page);
  const auto answer = [&](Code code) {
    const bool safe = frame.durable || frame.state == FrameState::kEmpty;  // nothing is left of a trimmed page to protect
    result = {.page = dirty.page, .stored_version = frame.version, .code = static_cast<std::uint32_t>(code),
              .level = batch != nullptr && safe ? kLevelDisk : kLevelHome};
    return false;
  };
  const Verdict verdict = Judge(frame.held(), version.version, version.crc32c);
  if (verdict == Verdict::kSuperseded) return pages_superseded_.Add(), answer(Code::kSuperseded);
  if (verdict == Verdict::kTwoVersions) {
    two_versions_.Add();
    if (refusals_log_.Allow(clock_.NowNs()))
      log::Error("memory: two contents under one version, refused; this is a bug or broken memory at the pnode space={} "
                 "page={} version={} crc_held={:08x} crc_new={:08x}", space.id().value(), dirty.page, dirty.version,
                 frame.crc32c, dirty.crc32c);
    return answer(Code::kDataLoss);
  }
  if (verdict == Verdict::kAlready && (batch == nullptr || frame.durable)) return pages_already_.Add(), answer(Code::kAlready);

  // The checksum is taken from our copy: the peer can still write to the bytes that came.
  const std::span<std::byte> copy = batch != nullptr ? batch->NextPageBuffer() : std::span<std::byte>(scratch_);
  if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), kPageBytes);
  const std::span<const std::byte> checked = bytes.empty() ? bytes : std::span<const std::byte>(copy);
  if (PageCrc32c(space.id(), version.page, version.version, checked) != version.crc32c)
    return bad_crc_.Add(), answer(Code::kDataLoss);
  if (verdict == Verdict::kTake) {
    space.Store(version, checked);
    pages_taken_.Add();
    if (bytes.empty()) zero_pages_.Add();
  } else {
    pages_already_.Add();
  }
  answer(verdict == Verdict::kTake ? Code::kOk : Code::kAlready);
  if (batch == nullptr) return false;
  batch->Add(version, !bytes.empty());
  return true;
}

void MemoryService::OnAppended(Batch& batch, const AppendOutcome& outcome) {
  WriteBackCall& call = calls_[batch.index()];
  write_back_ns_.Add(clock_.NowNs() - call.started_ns);
  fit::ReplyWriter reply = *std::exchange(call.reply, std::nullopt);
  if (outcome.code != Code::kOk)
    return reply.Send(outcome.code, 0, 0, HintsNow(std::max<std::uint16_t>(outcome.retry_after_ms, 20)));
  const std::span<const Batch::Page> pages = batch.pages();
  for (std::size_t i = 0; i < pages.size(); ++i) {
    wire::PageResult& result = call.results[call.result_of[i]];
    switch (pages[i].code) {
      case Code::kOk:
      case Code::kAlready:
      case Code::kSuperseded:
        result.level = kLevelDisk;
        break;
      case Code::kExhausted:
        result.code = static_cast<std::uint32_t>(Code::kExhausted);
        break;
      default:  // damaged on the way to the snode, or refused there: the pnode still has the page
        result.code = static_cast<std::uint32_t>(Code::kUnavailable);
    }
  }
  SendResults(reply, std::span(call.results).first(call.count));
}

void MemoryService::SendResults(fit::ReplyWriter& reply, std::span<const wire::PageResult> results) {
  MessageWriter out(reply.payload());
  out.Put(wire::ListReply{.next = 0, .count = static_cast<std::uint32_t>(results.size()), .flags = 0});
  for (const wire::PageResult& result : results) out.Put(result);
  reply.Send(Code::kOk, out.size(), 0, HintsNow());
}

void MemoryService::Trim(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = ReadMessage<wire::SpaceList, wire::TrimRange>(request.payload, wire::kMaxTrimRanges);
  if (!message || message->head.count == 0) return Reject(reply);
  std::array<wire::TrimRange, wire::kMaxTrimRanges> ranges;
  for (std::uint32_t i = 0; i < message->head.count; ++i) {
    ranges[i] = message->item(i);
    if (ranges[i].page_count == 0 || ranges[i].page_count > UINT32_MAX ||  // the log's entries count in 32 bits
        ranges[i].first_page > UINT64_MAX - ranges[i].page_count ||
        ranges[i].up_to_version > kMaxVersion || ranges[i].era != 0)
      return Reject(reply);
  }
  Space* space = Admit(request, SpaceId(message->head.space), Epoch(message->head.epoch), reply);
  if (space == nullptr) return;
  const std::span<const wire::TrimRange> all = std::span(ranges).first(message->head.count);
  // First remembered for the snode, then done here: a resend after a refusal finds everything as it was.
  if (replicator_ != nullptr && !replicator_->AddTrims(space->id(), all)) return reply.Send(Code::kExhausted, 0, 0, HintsNow(100));
  for (const wire::TrimRange& range : all)
    space->Trim(PageNumber(range.first_page), range.page_count, Version(range.up_to_version));
  trims_.Add(all.size());
  reply.Send(Code::kOk, 0, 0, HintsNow());
}

void MemoryService::DestroySpace(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = ReadMessage<wire::SpaceList, wire::u64>(request.payload, 0);
  if (!message || message->head.space == 0 || message->head.epoch == 0 || message->head.flags != 0) return Reject(reply);
  const SpaceId id(message->head.space);
  if (spaces_->Find(id) != nullptr) {
    Space* space = Admit(request, id, Epoch(message->head.epoch), reply);
    if (space == nullptr) return;
    FreeSpace(*space, nullptr);
  }
  spaces_->RememberEnded(id);
  if (replicator_ == nullptr) return reply.Send(Code::kOk);
  // Also for a space that is not known here: this mnode may have restarted, and the snode still keeps it.
  replicator_->EndSpace(id, Epoch(message->head.epoch), AnswerBy(request), [reply = std::move(reply)](bool confirmed) mutable {
    reply.Send(confirmed ? Code::kOk : Code::kUnavailable, 0, 0, {.retry_after_ms = confirmed ? std::uint16_t{0} : std::uint16_t{100}});
  });
}

void MemoryService::FreeExtent(ExtentIndex extent, std::shared_ptr<void> until_freed) {
  grants_->RevokeAll(extent, [this, extent, until_freed = std::move(until_freed), alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) pool_->Release(extent);
  });
}

void MemoryService::FreeSpace(Space& space, const std::shared_ptr<void>& until_freed) {
  for (const ExtentIndex extent : space.UnmapAll()) FreeExtent(extent, until_freed);
  spaces_->End(space.id());
  spaces_count_.Sub();
}

void MemoryService::EndSpacesOf(const SpaceOwner& owner, std::string_view reason, bool at_snode) {
  const std::vector<SpaceId> owned = spaces_->OwnedBy(owner);
  if (owned.empty()) return;
  log::Info("memory: spaces of a pnode are freed node={:016x} incarnation={} spaces={} at_snode={} reason={}",
            owner.node.value(), owner.incarnation.value(), owned.size(), at_snode, reason);
  for (const SpaceId id : owned) {
    Space& space = *spaces_->Find(id);
    const Epoch epoch = space.epoch();
    FreeSpace(space, nullptr);
    if (replicator_ == nullptr) continue;
    if (at_snode) replicator_->EndSpace(id, epoch, {clock_.NowNs() + kTickNs}, [](bool) {});
    else replicator_->LeaveSpace(id);
  }
}

void MemoryService::OnClientDown(const fit::Client& client) {
  clients_.WentAway(client, clock_.NowNs());
  ArmTick();
}

void MemoryService::ArmTick() {
  if (std::exchange(tick_armed_, true)) return;
  shard_.At(clock_.NowNs() + kTickNs, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) Tick();
  });
}

void MemoryService::Tick() {
  tick_armed_ = false;
  for (const SpaceOwner& owner : clients_.TakeGone(clock_.NowNs(), options_.absent_ns)) {
    clients_gone_.Add();
    EndSpacesOf(owner, "the pnode stayed away for too long", /*at_snode=*/false);
  }
  if (clients_.anyone_away()) ArmTick();
}

// Back-pressure, disk → snode → mnode → pnode: batches a pnode may have under way, never below one.
fit::Hints MemoryService::HintsNow(std::uint16_t retry_after_ms) const {
  fit::Hints hints;
  hints.retry_after_ms = retry_after_ms;
  hints.pool_low = pool_->free_count() < std::max<std::size_t>(1, pool_->extent_count() / 20);
  hints.write_batches = kFullWriteBatches;
  if (replicator_ == nullptr) return hints;
  hints.degraded = !replicator_->link_up();
  const std::size_t used = buffers_->used_percent();
  if (used > 75) hints.write_batches = kFullWriteBatches / 2;
  if (used > 90) hints.write_batches = 1;
  return hints;
}

// Before the caller stops waiting, so that it learns more than a timeout.
fit::Deadline MemoryService::AnswerBy(const fit::RequestView& request) const {
  const std::uint64_t now = clock_.NowNs();
  const std::uint64_t budget = request.deadline.at_ns > now ? request.deadline.at_ns - now : 0;
  return {now + budget - std::min<std::uint64_t>(budget / 4, 200'000'000)};
}

void MemoryService::CollectStats(StatList& stats) const {
  stats.Add("pool_bytes", pool_->extent_count() * kExtentBytes);
  stats.Add("pool_used_bytes", pool_->extents_used().value() * kExtentBytes);
  stats.Add("extents", pool_->extents_used());
  stats.Add("pool_zeroed_frames_total", pool_->frames_zeroed());
  stats.Add("windows_refused_total", grants_->refused());
  stats.Add("spaces", spaces_count_);
  stats.Add("live_pages", pool_->totals().live_pages);
  stats.Add("unprotected_bytes", pool_->totals().behind_pages.value() * kPageBytes);
  stats.Add("write_backs_total", write_backs_);
  stats.Add("pages_taken_total", pages_taken_);
  stats.Add("zero_pages_taken_total", zero_pages_);
  stats.Add("pages_already_total", pages_already_);
  stats.Add("pages_superseded_total", pages_superseded_);
  stats.Add("pages_bad_crc_total", bad_crc_);
  stats.Add("pages_two_versions_total", two_versions_);
  stats.Add("fetched_pages_total", fetched_pages_);
  stats.Add("trim_ranges_total", trims_);
  stats.Add("malformed_requests_total", malformed_);
  stats.Add("stale_epoch_total", stale_epoch_);
  stats.Add("pool_full_total", pool_full_);
  stats.Add("clients_replaced_total", clients_replaced_);
  stats.Add("clients_gone_total", clients_gone_);
  if (replicator_ == nullptr) return;
  stats.Add("intake_full_total", intake_full_);
  stats.Add("intake_used_bytes", buffers_->in_use().value() * BatchBuffers::kBatchBytes);
  stats.Add("write_back_ns", write_back_ns_);
  replicator_->CollectStats(stats);
}

}  // namespace ashlar::mnode
