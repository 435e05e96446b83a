// The life of a client's link: grant → connect → prove → up → fail → drain → destroy → back off → again.
#include "common/fit/connection.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/fit/back_off.h"
#include "common/fit/connection_impl.h"

namespace ashlar::fit {

absl::StatusOr<std::unique_ptr<Connection>> Connection::Create(Shard& shard, const ConnectionOptions& options,
                                                               LinkOpener& opener, ConnectionEvents* events) {
  if (options.slots == 0 || options.slots > wire::kMaxSlots || options.bulk_slots > options.slots || options.max_queued == 0)
    return absl::InvalidArgumentError(absl::StrCat("fit: connection to ", options.peer, ": slots must be 1 to ", wire::kMaxSlots,
                                                   ", bulk_slots at most slots, max_queued at least 1"));
  if (options.keep_alive_ns < TimerWheel::kTickNs || options.suspect_ns < 2 * options.keep_alive_ns)
    return absl::InvalidArgumentError(absl::StrCat("fit: connection to ", options.peer,
                                                   ": keep_alive at least 1 ms, suspect at least twice that"));
  ShardImpl& impl = ShardImpl::From(shard);
  ASHLAR_ASSIGN_OR_RETURN(std::shared_ptr<Arena> in, Arena::Create(impl.domain(), {options.slots, options.bulk_slots},
                                                                   Link::Cells(options.slots)));
  ASHLAR_ASSIGN_OR_RETURN(std::shared_ptr<Arena> out, Arena::Create(impl.domain(), {options.slots, 0}, 0));
  auto connection = std::make_unique<ConnectionImpl>(impl, options, opener, events, std::move(in), std::move(out));
  connection->Open();
  return connection;
}

ConnectionImpl::ConnectionImpl(ShardImpl& shard, const ConnectionOptions& options, LinkOpener& opener,
                               ConnectionEvents* events, std::shared_ptr<Arena> in, std::shared_ptr<Arena> out)
    : shard_(shard), options_(options), opener_(opener), events_(events),
      journal_(options.peer, shard.device().backend(), shard.now_ns()), in_(std::move(in)), out_(std::move(out)),
      retry_([this] { Open(); }), self_(std::make_shared<ConnectionImpl*>(this)),
      slots_(options.slots, options.bulk_slots, MonotonicNs()) {}

ConnectionImpl::~ConnectionImpl() {
  closing_ = true;
  *self_ = nullptr;
  retry_.Cancel();
  if (link_ != nullptr) link_->Destroy();
  absl::Status cancelled = absl::CancelledError(absl::StrCat("fit: the connection to ", options_.peer, " is destroyed"));
  for (const auto& call : calls_.all())
    if (call->user != nullptr && !call->done) Expire(*call, cancelled);
  for (const auto& read : reads_.all())
    if (read->user != nullptr && !read->done) ExpireRead(*read, cancelled);
  ASHLAR_CHECK(calls_.in_use() == 0 && reads_.in_use() == 0, "nothing names lent memory once the endpoint is gone; calls={} reads={}",
               calls_.in_use(), reads_.in_use());
}

void ConnectionImpl::Enter(LinkState state) {
  state_ = state;
  journal_.Enter(state, grant_.connection_epoch, shard_.now_ns());
}

void ConnectionImpl::Open() {
  Enter(LinkState::kOpening);
  std::uint64_t attempt = ++attempt_;
  shard_.wheel().Arm(retry_, shard_.now_ns() + kGrantTimeoutNs);
  opener_.OpenLink([self = self_, queue = shard_.submit_queue(), attempt](absl::StatusOr<LinkGrant> grant) {
    queue->Submit([self, attempt, grant = std::move(grant)]() mutable {
      if (*self != nullptr) (*self)->OnGrant(attempt, std::move(grant));
    });
  });
}

void ConnectionImpl::OnGrant(std::uint64_t attempt, absl::StatusOr<LinkGrant> grant) {
  if (attempt != attempt_ || state_ != LinkState::kOpening) return;  // given up on meanwhile
  retry_.Cancel();
  if (!grant.ok()) return BackOff(Annotate(grant.status(), "open link"));
  if (grant->server_node != options_.server_node)
    return BackOff(absl::FailedPreconditionError("the grant is for another node; is the topology the same everywhere?"));
  grant_ = *std::move(grant);
  if (absl::Status connecting = Connect(); !connecting.ok()) BackOff(connecting);
}

Link::Options ConnectionImpl::LinkOptions() const {
  std::uint32_t slices = std::max<std::uint32_t>(shard_.device().caps().max_slices, 1);
  std::uint32_t bulk_requests = options_.bulk_slots * ((wire::kBulkPages + slices - 1) / slices);
  return {.is_client = true,
          .peer = {grant_.connection_epoch, grant_.server_node.value(), grant_.server_incarnation.value()},
          .slots = options_.slots,
          .send_depth = 2u * options_.slots + bulk_requests + kReadDepth + 16,
          .keep_alive_ns = options_.keep_alive_ns,
          .silence_ns = options_.suspect_ns};
}

absl::Status ConnectionImpl::Connect() {
  Link::Options link_options = LinkOptions();
  hello_ = MakeHello(grant_.token, {.token_id = grant_.token_id, .connection_epoch = grant_.connection_epoch,
                                    .shard = shard_.options().index, .slots = options_.slots});
  ASHLAR_ASSIGN_OR_RETURN(auto endpoint, shard_.device().Connect(grant_.address, shard_.domain(), shard_.queue(),
                                                                 Link::EndpointOptionsFor(link_options),
                                                                 std::as_bytes(std::span(&hello_, 1)), kConnectTimeoutNs));
  Enter(LinkState::kConnecting);
  was_up_ = false;
  link_ = std::make_unique<Link>(shard_, link_options, std::move(endpoint), in_, *this, counters_);
  link_->Begin();
  return absl::OkStatus();
}

absl::Status ConnectionImpl::OnConnected(std::span<const std::byte> peer_hello) {
  return CheckHelloAck(grant_.token, hello_, peer_hello);
}

void ConnectionImpl::OnUp() {
  const wire::ArenaShape& peer = link_->peer_shape();
  Enter(LinkState::kUp);
  was_up_ = true;
  up_since_ns_ = shard_.now_ns();
  up_.Set(1);
  incarnation_ = grant_.server_incarnation;
  log::Info("fit: connected peer={} address={} epoch={} incarnation={}", options_.peer, grant_.address,
            grant_.connection_epoch, incarnation_.value());
  slots_.Limit(peer.slots, std::min(peer.bulk_slots, in_->shape().bulk_slots));
  ResendOrRequeue();
  last_up_ = incarnation_;
  if (events_ != nullptr) events_->OnUp(incarnation_, grant_.connection_epoch);
  Dispatch(shard_.turn_ns());
}

void ConnectionImpl::OnRetired(const WorkTag& tag, bool succeeded) {
  switch (tag.kind) {
    case WorkTag::Kind::kControl:
    case WorkTag::Kind::kRevoke: return;
    case WorkTag::Kind::kFrame:
      --slots_.at(tag.slot).work_requests;
      if (LinkIsUp()) FreeIfRetired(tag.slot);
      return;
    case WorkTag::Kind::kBulk: {
      Call& call = *static_cast<Call*>(tag.owner);
      --call.work_requests;
      return ReleaseIfDone(call);
    }
    case WorkTag::Kind::kRead: {
      ReadCall& read = *static_cast<ReadCall*>(tag.owner);
      --read.work_requests;
      --reads_posted_;
      if (!succeeded) FinishRead(read, absl::UnavailableError(absl::StrCat("fit: a READ from ", options_.peer, " failed")));
      else if (read.work_requests == 0 && read.posted == read.pieces.size()) FinishRead(read, absl::OkStatus());
      ReleaseReadIfDone(read);
      return PostReads();
    }
  }
}

void ConnectionImpl::OnFailed(const absl::Status& reason) {
  journal_.Failed(reason.ToString());
  Enter(LinkState::kDraining);
  up_.Set(0);
  if (log_limit_.Allow(shard_.now_ns()))
    log::Warn("fit: link lost peer={} address={} reason={} left_out={}", options_.peer, grant_.address, reason, log_limit_.TakeLeftOut());
  if (was_up_ && shard_.now_ns() - up_since_ns_ >= 1'000'000'000) failures_ = 0;
  read_queue_.clear();
  for (const auto& read : reads_.all())
    if (read->user != nullptr && !read->done)
      FinishRead(*read, absl::UnavailableError(absl::StrCat("fit: the link to ", options_.peer, " was lost under a READ")));
  if (was_up_ && events_ != nullptr && !closing_) events_->OnDown(reason);
}

void ConnectionImpl::OnGone() {
  for (std::uint16_t index = 0; index < slots_.size(); ++index) {
    SlotState state = slots_.at(index).state;
    if (state == SlotState::kQuarantined || state == SlotState::kAnswered) slots_.Apply(index, SlotEvent::kGone);
  }
  ShowSlots();
  // The link stands on the stack below us.
  shard_.Defer([gone = std::move(link_)] {});
  if (closing_) return;
  reconnects_.Add();
  BackOff(absl::OkStatus());
}

void ConnectionImpl::BackOff(const absl::Status& reason) {
  if (!reason.ok()) journal_.Failed(reason.ToString());
  if (!reason.ok() && log_limit_.Allow(shard_.now_ns()))
    log::Warn("fit: cannot connect peer={} reason={} left_out={}", options_.peer, reason, log_limit_.TakeLeftOut());
  Enter(LinkState::kBackOff);
  std::uint32_t random;
  FillRandom(std::as_writable_bytes(std::span(&random, 1)));
  shard_.wheel().Arm(retry_, shard_.now_ns() + BackOffNs(failures_++, random));
}

void ConnectionImpl::CollectStats(StatList& stats) const {
  std::string peer = absl::StrCat("peer=", options_.peer);
  for (std::size_t opcode = 0; opcode < kOpcodeEnd; ++opcode) {
    const OpcodeInfo* info = FindOpcode(static_cast<std::uint16_t>(opcode));
    if (info == nullptr) continue;
    std::string label = absl::StrCat(peer, ",opcode=", absl::string_view(info->name.data(), info->name.size()));
    const OpcodeCounters& counters = opcode_counters_[opcode];
    std::uint64_t total = 0;
    for (std::size_t code = 0; code < counters.by_code.size(); ++code) {
      if (std::uint64_t count = counters.by_code[code].value(); count > 0)
        stats.Add("fit_calls_total", count,
                  absl::StrCat(label, ",code=", code + 1 == counters.by_code.size() ? "wire" : absl::StrCat(code)));
      total += counters.by_code[code].value();
    }
    if (total > 0) stats.Add("fit_call_ns", counters.call_ns, label);
  }
  stats.Add("fit_one_sided_ns", one_sided_ns_, peer);
  stats.Add("fit_batch_size", counters_.batch_size, peer);
  stats.Add("fit_drain_ns", counters_.drain_ns, peer);
  stats.Add("fit_link_up", up_, peer);
  stats.Add("fit_slots_in_use", slots_in_use_, peer);
  stats.Add("fit_quarantined", slots_quarantined_, peer);
  stats.Add("fit_queued", calls_queued_, peer);
  stats.Add("fit_cancel_total", cancels_, peer);
  stats.Add("fit_deadline_exceeded_total", deadline_exceeded_, peer);
  stats.Add("fit_stale_total", stale_, peer);
  stats.Add("fit_resend_total", resends_idempotent_, absl::StrCat(peer, ",class=A"));
  stats.Add("fit_resend_total", resends_once_, absl::StrCat(peer, ",class=B"));
  stats.Add("fit_outcome_unknown_total", outcome_unknown_, peer);
  stats.Add("fit_reconnect_total", reconnects_, peer);
  stats.Add("fit_keep_alive_total", counters_.keep_alives, peer);
  stats.Add("fabric_post_total", counters_.posts, peer);
  stats.Add("fabric_wr_total", counters_.work_requests, peer);
  stats.Add("fabric_completion_failed_total", counters_.failed_completions, peer);
  for (std::size_t verdict = 0; verdict < kVerdictCount; ++verdict)
    if (std::uint64_t count = counters_.rejects[verdict].value(); count > 0) {
      std::string_view name = Name(static_cast<Verdict>(verdict));
      stats.Add("fit_reject_total", count, absl::StrCat(peer, ",reason=", absl::string_view(name.data(), name.size())));
    }
}

}  // namespace ashlar::fit
