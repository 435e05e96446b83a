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
constexpr std::uint8_t kFullWriteBatches = 6;  // that a pnode may have under way: its FIT bulk slots less two
}  // namespace

absl::StatusOr<std::unique_ptr<MemoryService>> MemoryService::Create(fit::Shard& shard, const MemoryServiceOptions& options,
                                                                     const Clock& clock) {
  if (options.replicas > 1) return absl::UnimplementedError("memory service: replicas must be 0 or 1");
  if (options.replicas > options.snodes.size()) return absl::InvalidArgumentError("memory service: no snode to replicate to");
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
    service->replicas_ = std::make_unique<ReplicaSet>(shard, *service->spaces_, *service->buffers_, options.snodes, options.replicator,
                                                      options.replace_after_ns, clock);
    service->filler_ = std::make_unique<ExtentFiller>(*service->spaces_, *service->replicas_, clock);
  }
  return service;
}

MemoryService::MemoryService(fit::Shard& shard, const MemoryServiceOptions& options, const Clock& clock)
    : shard_(shard), options_(options), clock_(clock) {}

MemoryService::~MemoryService() {
  if (filler_ != nullptr) filler_->Stop();
}

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
    case wire::Opcode::kCompare: return Compare(request, std::move(reply));
    case wire::Opcode::kAppendPages:  // the storage nodes'
    case wire::Opcode::kOpenSpace:
    case wire::Opcode::kFenceEpoch:
    case wire::Opcode::kRecoverRead:
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

void MemoryService::EndSpacesOf(const SpaceOwner& owner, std::string_view reason, bool at_snode) {
  const std::vector<SpaceId> owned = spaces_->OwnedBy(owner);
  if (owned.empty()) return;
  log::Info("memory: spaces of a pnode are freed node={:016x} incarnation={} spaces={} at_snode={} reason={}",
            owner.node.value(), owner.incarnation.value(), owned.size(), at_snode, reason);
  for (const SpaceId id : owned) {
    Space& space = *spaces_->Find(id);
    const Epoch epoch = space.epoch();
    FreeSpace(space, nullptr, at_snode ? Afterwards::kEnded : Afterwards::kMayReturn);
    if (replicas_ == nullptr) continue;
    if (at_snode) replicas_->EndSpace(id, epoch, {clock_.NowNs() + kTickNs}, [](bool) {});
    else replicas_->LeaveSpace(id);
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
fit::Hints MemoryService::HintsNow(SpaceId space, std::uint16_t retry_after_ms) const {
  fit::Hints hints;
  hints.retry_after_ms = retry_after_ms;
  hints.pool_low = pool_->free_count() < std::max<std::size_t>(1, pool_->extent_count() / 20);
  hints.write_batches = kFullWriteBatches;
  if (replicas_ == nullptr) return hints;
  hints.degraded = !replicas_->Reachable(space);
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
  if (replicas_ == nullptr) return;
  stats.Add("intake_full_total", intake_full_);
  stats.Add("intake_used_bytes", buffers_->in_use().value() * BatchBuffers::kBatchBytes);
  stats.Add("write_back_ns", write_back_ns_);
  replicas_->CollectStats(stats);
  filler_->CollectStats(stats);
}

}  // namespace ashlar::mnode
