#include "common/fit/server.h"

#include <algorithm>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/fit/server_impl.h"

namespace ashlar::fit {
namespace {

std::string_view WithoutPort(std::string_view address) { return address.substr(0, address.rfind(':')); }

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Create(Shard& shard, const ServerOptions& options, Handler& handler) {
  if (options.slots == 0 || options.slots > wire::kMaxSlots || options.bulk_slots > options.slots)
    return absl::InvalidArgumentError(absl::StrCat("fit: server on ", options.address, ": slots must be 1 to ", wire::kMaxSlots,
                                                   ", bulk_slots at most slots"));
  ShardImpl& impl = ShardImpl::From(shard);
  ASHLAR_ASSIGN_OR_RETURN(auto listener, impl.device().Listen(options.address));
  auto server = std::make_unique<ServerImpl>(impl, options, handler, std::move(listener));
  ASHLAR_RETURN_IF_ERROR(server->Begin());
  return server;
}

ServerImpl::ServerImpl(ShardImpl& shard, const ServerOptions& options, Handler& handler,
                       std::unique_ptr<fabric::Listener> listener)
    : shard_(shard), options_(options), handler_(handler), listener_(std::move(listener)), address_(listener_->address()),
      accept_timer_([this] { OnAcceptable(); }), tokens_(options.token_ttl_ns),
      // Above every epoch of an earlier run of this node; one per link is all that is added.
      next_epoch_(static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                                 std::chrono::system_clock::now().time_since_epoch())
                                                 .count())) {}

absl::Status ServerImpl::Begin() {
  shard_.wheel().Arm(accept_timer_, shard_.now_ns() + kAcceptPeriodNs);
  return shard_.AddFd(listener_->event_fd(), [this] { OnAcceptable(); });
}

ServerImpl::~ServerImpl() {
  shard_.RemoveFd(listener_->event_fd());
  while (!links_.empty()) links_.front()->link().Destroy();
  for (auto& [client, record] : records_) {
    record->server = nullptr;  // late answers go nowhere
    record->out->Drop();
  }
}

absl::StatusOr<LinkGrant> ServerImpl::IssueLink(const Client& client) {
  std::uint64_t epoch = next_epoch_.fetch_add(1, std::memory_order_relaxed);
  ASHLAR_ASSIGN_OR_RETURN(TokenTable::Issued issued, tokens_.Issue(client, epoch, shard_.now_ns()));
  return LinkGrant{.token = issued.token, .token_id = issued.token_id, .connection_epoch = epoch, .address = address_,
                   .server_node = shard_.options().node, .server_incarnation = shard_.options().incarnation};
}

void ServerImpl::OnAcceptable() {
  while (std::unique_ptr<fabric::PendingPeer> peer = listener_->Accept()) Accept(*peer);
  shard_.wheel().Arm(accept_timer_, shard_.now_ns() + kAcceptPeriodNs);
}

void ServerImpl::Accept(fabric::PendingPeer& peer) {
  std::uint64_t now = shard_.now_ns();
  std::string address = peer.address();
  std::string_view source = WithoutPort(address);
  std::optional<wire::Hello> hello = ParseHello(peer.hello());
  bool known = hello.has_value() && tokens_.IsOpen(hello->token_id, now);
  if (!known && brake_.Closed(source, now)) return refused_hellos_.Add();
  absl::Status admitted = absl::UnauthenticatedError("fit: not a hello of this version");
  if (hello.has_value()) {
    absl::StatusOr<TokenTable::Entry> entry = tokens_.Redeem(*hello, now);
    if (entry.ok()) {
      admitted = Admit(peer, *hello, *entry);
      if (admitted.ok()) return;
      return log::Warn("fit: cannot take a client source={} reason={}", address, admitted);
    }
    admitted = entry.status();
  }
  refused_hellos_.Add();
  if (brake_.RecordFailure(source, now))
    log::Warn("fit: too many refused hellos, the source waits a second source={} last_reason={}", source, admitted);
}

absl::Status ServerImpl::Admit(fabric::PendingPeer& peer, const wire::Hello& hello, const TokenTable::Entry& entry) {
  ForgetOldRecords(entry.client);
  ASHLAR_ASSIGN_OR_RETURN(std::shared_ptr<CallerRecord> record, RecordOf(entry.client));
  // The older endpoint is gone before the newer hello is answered: nothing of it can be written or answered later.
  if (record->link != nullptr) {
    replacing_ = true;
    record->link->link().Destroy();
    replacing_ = false;
  }
  absl::Status admitted = Connect(peer, hello, entry, record);
  if (!admitted.ok() && record->endpoints_seen > 0) handler_.OnClientDown(record->client);
  return admitted;
}

absl::Status ServerImpl::Connect(fabric::PendingPeer& peer, const wire::Hello& hello, const TokenTable::Entry& entry,
                                 const std::shared_ptr<CallerRecord>& record) {
  // Fresh memory: a handler may still hold what the older endpoint was granted.
  ASHLAR_ASSIGN_OR_RETURN(std::shared_ptr<Arena> in, Arena::Create(shard_.domain(), {options_.slots, options_.bulk_slots},
                                                                   Link::Cells(options_.slots)));
  Link::Options link_options{.is_client = false,
                             .peer = {entry.connection_epoch, entry.client.node.value(), entry.client.incarnation.value()},
                             .slots = options_.slots,
                             .send_depth = 4u * options_.slots + 2u * options_.bulk_slots + 96,
                             .keep_alive_ns = kHousekeepingNs,
                             .silence_ns = kSilenceNs};
  wire::Hello ack = MakeHelloAck(entry.token, hello, options_.slots);
  ASHLAR_ASSIGN_OR_RETURN(auto endpoint, peer.Accept(shard_.domain(), shard_.queue(), Link::EndpointOptionsFor(link_options),
                                                     std::as_bytes(std::span(&ack, 1))));
  ++record->endpoints_seen;
  links_.push_back(std::make_unique<ServerLink>(*this, record, link_options, std::move(endpoint), std::move(in)));
  ServerLink& link = *links_.back();
  link.self = std::prev(links_.end());
  record->link = &link;
  accepted_.Add();
  links_up_.Add();
  link.link().Begin();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<CallerRecord>> ServerImpl::RecordOf(const Client& client) {
  if (auto found = records_.find(client); found != records_.end()) return found->second;
  if (records_.size() >= kMaxRecords)
    return absl::ResourceExhaustedError(absl::StrCat("fit: ", records_.size(), " clients are remembered"));
  ASHLAR_ASSIGN_OR_RETURN(std::shared_ptr<Arena> out, Arena::Create(shard_.domain(), {options_.slots, options_.bulk_slots}, 0));
  auto record = std::make_shared<CallerRecord>(client, std::move(out), options_.slots);
  record->server = this;
  return records_[client] = record;
}

// A newer incarnation of a node ends the older ones; a client that was not seen for ten minutes is forgotten.
void ServerImpl::ForgetOldRecords(const Client& client) {
  std::vector<std::shared_ptr<CallerRecord>> superseded;
  for (const auto& [of, record] : records_)
    if (of.node == client.node && of.incarnation < client.incarnation) superseded.push_back(record);
  for (const auto& record : superseded)
    if (record->link != nullptr) record->link->link().Destroy();
  std::uint64_t now = shard_.now_ns();
  absl::erase_if(records_, [&](const auto& item) {
    CallerRecord& record = *item.second;
    bool is_superseded = record.client.node == client.node && record.client.incarnation < client.incarnation;
    bool is_old = record.link == nullptr && record.running == 0 && now - record.idle_since_ns > kRecordTtlNs;
    if (!is_superseded && !is_old) return false;
    record.server = nullptr;
    record.out->Drop();
    return true;
  });
}

void ServerImpl::CollectStats(StatList& stats) const {
  for (std::size_t opcode = 0; opcode < kOpcodeEnd; ++opcode) {
    const OpcodeInfo* info = FindOpcode(static_cast<std::uint16_t>(opcode));
    if (info == nullptr) continue;
    std::string label = absl::StrCat("opcode=", absl::string_view(info->name.data(), info->name.size()));
    const OpcodeCounters& counters = opcode_counters_[opcode];
    bool any = false;
    for (std::size_t code = 0; code < counters.by_code.size(); ++code)
      if (std::uint64_t count = counters.by_code[code].value(); count > 0) {
        stats.Add("fit_served_total", count, absl::StrCat(label, ",code=", code));
        any = true;
      }
    if (any) stats.Add("fit_serve_ns", counters.serve_ns, label);
  }
  stats.Add("fit_links", links_up_);
  stats.Add("fit_accepted_total", accepted_);
  stats.Add("fit_refused_hello_total", refused_hellos_);
  stats.Add("fit_stale_total", stale_);
  stats.Add("fit_reply_replayed_total", replayed_);
  stats.Add("fit_resend_received_total", resends_);
  stats.Add("fit_unknown_opcode_total", unknown_opcodes_);
  stats.Add("fit_outcome_unknown_total", forgotten_);
  stats.Add("fit_not_begun_total", not_begun_);
  stats.Add("fit_cancelled_total", cancelled_);
  stats.Add("fit_batch_size", link_counters_.batch_size);
  stats.Add("fit_drain_ns", link_counters_.drain_ns);
  stats.Add("fabric_post_total", link_counters_.posts);
  stats.Add("fabric_wr_total", link_counters_.work_requests);
  stats.Add("fabric_completion_failed_total", link_counters_.failed_completions);
  for (std::size_t verdict = 0; verdict < kVerdictCount; ++verdict)
    if (std::uint64_t count = link_counters_.rejects[verdict].value(); count > 0) {
      std::string_view name = Name(static_cast<Verdict>(verdict));
      stats.Add("fit_reject_total", count, absl::StrCat("reason=", absl::string_view(name.data(), name.size())));
    }
}

}  // namespace ashlar::fit
