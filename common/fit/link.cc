#include "common/fit/link.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/telemetry/log.h"

namespace ashlar::fit {
namespace {

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

}  // namespace

fabric::EndpointOptions Link::EndpointOptionsFor(const Options& options) {
  return {.send_depth = options.send_depth + kMaxRevocations,
          .receive_depth = ReceiveCells(options.slots),
          .epoch_seed = static_cast<std::uint32_t>(options.peer.connection_epoch)};
}

Link::Link(ShardImpl& shard, const Options& options, std::unique_ptr<fabric::Endpoint> endpoint,
           std::shared_ptr<Arena> arena, LinkOwner& owner, LinkCounters& counters)
    : shard_(shard), options_(options), owner_(owner), counters_(counters), arena_(std::move(arena)),
      endpoint_(std::move(endpoint)), ring_(std::bit_ceil(std::size_t{options.send_depth})),
      housekeeping_([this] { OnHousekeeping(); }) {
  last_sent_ns_ = last_received_ns_ = shard_.now_ns();
  shard_.Attach(endpoint_->id(), *this);
}

void Link::Begin() {
  shard_.Watch(*this);
  CheckPost(PostReceives());
}

Link::~Link() { ASHLAR_CHECK(state_ == State::kGone, "a link is destroyed in order; state={}", static_cast<int>(state_)); }

absl::Status Link::PostReceives() {
  std::uint32_t count = ReceiveCells(options_.slots);
  for (std::uint32_t cell = 0; cell < count; ++cell) free_cells_.push_back(cell);
  std::vector<fabric::Slice> slices;
  std::vector<fabric::WorkRequest> receives;
  slices.reserve(count);
  for (std::uint32_t cell : free_cells_) {
    slices.push_back(arena_->CellSlice(cell));
    receives.push_back({.wr_id = fabric::WrId(kReceiveBit | cell), .op = fabric::Op::kReceive,
                        .local = std::span(&slices.back(), 1)});
  }
  free_cells_.clear();
  return endpoint_->Receive(receives);
}

// Before anything is posted in a turn: what we answer is the peer's leave to send more.
void Link::RepostReceives() {
  if (free_cells_.empty()) return;
  slices_.clear();
  post_.clear();
  for (std::uint32_t cell : free_cells_) slices_.push_back(arena_->CellSlice(cell));
  for (std::size_t i = 0; i < free_cells_.size(); ++i)
    post_.push_back({.wr_id = fabric::WrId(kReceiveBit | free_cells_[i]), .op = fabric::Op::kReceive,
                     .local = std::span(&slices_[i], 1)});
  free_cells_.clear();
  CheckPost(endpoint_->Receive(post_));
}

bool Link::CheckPost(const absl::Status& status) {
  if (status.ok()) return true;
  Fail(status);
  return false;
}

void Link::WantFlush() {
  if (!flush_wanted_) shard_.WantFlush(*this);
  flush_wanted_ = true;
}

void Link::Greet() {
  if (absl::Status proved = owner_.OnConnected(endpoint_->peer_hello()); !proved.ok()) return Fail(proved);
  if (state_ != State::kConnecting) return;
  absl::StatusOr<fabric::RemoteWindow> window = endpoint_->Grant(arena_->Granted(), fabric::Access::kRemoteWrite);
  if (!window.ok()) return Fail(window.status());
  wire::ArenaHello hello{};
  hello.slots = static_cast<wire::u16>(arena_->shape().slots);
  hello.connection_epoch = options_.peer.connection_epoch;
  hello.node_id = shard_.options().node.value();
  hello.incarnation = shard_.options().incarnation.value();
  hello.arena_key = window->key.value();
  hello.arena_bytes = static_cast<wire::u32>(arena_->shape().Bytes());
  hello.arena_base = window->base;
  hello.bulk_slots = static_cast<wire::u16>(arena_->shape().bulk_slots);
  hello.bulk_pages = wire::kBulkPages;
  SealArenaHello(hello);
  std::uint32_t cell = ReceiveCells(options_.slots);
  fabric::Slice slice = arena_->CellSlice(cell);
  std::memcpy(arena_->bytes().data() + slice.offset, &hello, sizeof(hello));

  state_ = State::kGreeting;
  shard_.Unwatch(*this);
  last_received_ns_ = shard_.now_ns();
  OnHousekeeping();
  Add({.op = fabric::Op::kSend, .solicited = true, .local = std::span(&slice, 1)}, {});
}

int Link::Tick() {
  if (state_ == State::kConnecting) {
    switch (endpoint_->state()) {
      case fabric::EndpointState::kConnecting: return 0;
      case fabric::EndpointState::kReady: Greet(); return 1;
      case fabric::EndpointState::kError:
      case fabric::EndpointState::kDraining:
      case fabric::EndpointState::kDead: Fail(endpoint_->reason()); return 1;
    }
  }
  if (state_ == State::kDraining &&
      (endpoint_->outstanding() == 0 || shard_.now_ns() - drain_start_ns_ >= kDrainNs)) {
    Destroy();
    return 1;
  }
  return 0;
}

void Link::Add(const fabric::WorkRequest& request, const WorkTag& tag) {
  if (batch_.empty()) gathered_slices_.clear();
  batch_.push_back({request, tag, static_cast<std::uint32_t>(gathered_slices_.size()),
                    static_cast<std::uint32_t>(request.local.size())});
  gathered_slices_.insert(gathered_slices_.end(), request.local.begin(), request.local.end());
  WantFlush();
}

void Link::AddControl(std::uint32_t slot, std::uint64_t sequence, std::uint32_t code) {
  Add({.op = fabric::Op::kWriteWithImm, .solicited = true, .imm = wire::Imm(wire::Kind::kControl, slot, sequence, code),
       .window = peer_window_},
      {.kind = WorkTag::Kind::kControl});
}

void Link::Flush() {
  flush_wanted_ = false;
  if (state_ != State::kGreeting && state_ != State::kUp) return;  // what is gathered comes back from Destroy
  RepostReceives();
  if (batch_.empty() || state_ == State::kDraining) return;
  // Owners bound what they post; what can overflow is answers to a peer that floods us.
  if (tail_ - head_ + batch_.size() > options_.send_depth)
    return Fail(absl::ResourceExhaustedError("fit: the peer asks for more answers than the link may hold"));
  counters_.batch_size.Add(batch_.size());
  std::uint64_t now = last_sent_ns_ = shard_.turn_ns();
  std::size_t done = 0;
  while (done < batch_.size()) {
    std::size_t count = 0;
    std::uint64_t bytes = 0;
    post_.clear();
    while (done + count < batch_.size() && count < kBatchRequests && (count == 0 || bytes < kBatchBytes)) {
      Gathered& next = batch_[done + count];
      fabric::WorkRequest request = next.request;
      request.wr_id = fabric::WrId(tail_ + count);
      request.local = std::span(gathered_slices_).subspan(next.first_slice, next.slice_count);
      for (const fabric::Slice& slice : request.local) bytes += slice.bytes;
      request.signalled = request.op == fabric::Op::kRead || count % 16 == 15;
      post_.push_back(request);
      ++count;
    }
    post_.back().signalled = true;
    counters_.posts.Add();
    counters_.work_requests.Add(count);
    if (absl::Status posted = endpoint_->Post(post_); !posted.ok()) {
      batch_.erase(batch_.begin(), batch_.begin() + static_cast<std::ptrdiff_t>(done));
      return Fail(posted);
    }
    for (std::size_t i = 0; i < count; ++i, ++tail_)
      ring_[tail_ % ring_.size()] = {batch_[done + i].tag, now, post_[i].signalled, false};
    done += count;
  }
  batch_.clear();
}

void Link::OnCompletion(const fabric::Completion& completion) {
  if (const auto* succeeded = std::get_if<fabric::Succeeded>(&completion)) return OnSucceeded(*succeeded);
  const auto& failed = std::get<fabric::Failed>(completion);
  counters_.failed_completions.Add();
  // A failed completion tells no opcode: which kind of request it was, only our own name for it says.
  bool is_send = (failed.wr_id.value() & (kReceiveBit | kRevokeBit)) == 0;
  if (is_send) Retire(failed.wr_id.value(), false);
  absl::Status reason = endpoint_ != nullptr ? endpoint_->reason() : absl::OkStatus();
  Fail(!reason.ok() ? reason
                    : absl::UnavailableError(absl::StrCat("fit: a work request failed; status=",
                                                          static_cast<int>(failed.status), " vendor=", failed.vendor)));
}

void Link::OnSucceeded(const fabric::Succeeded& completion) {
  std::uint64_t number = completion.wr_id.value();
  if ((number & kReceiveBit) != 0) {
    if (state_ == State::kConnecting) Tick();  // it became ready just before
    if (state_ == State::kGreeting || state_ == State::kUp)
      OnReceive(completion, static_cast<std::uint32_t>(number & ~kReceiveBit));
  } else if ((number & kRevokeBit) != 0) {
    owner_.OnRetired({.kind = WorkTag::Kind::kRevoke, .number = number & ~kRevokeBit}, true);
  } else {
    Retire(number, true);
  }
}

void Link::Retire(std::uint64_t number, bool succeeded) {
  if (number < head_ || number >= tail_ || ring_[number % ring_.size()].retired)
    return Fail(absl::InternalError(absl::StrCat("fit: a completion for work that is not under way; wr_id=", number)));
  for (std::uint64_t earlier = std::max(scan_, head_); succeeded && earlier < number; ++earlier) {
    Posted& posted = ring_[earlier % ring_.size()];
    if (posted.signalled || posted.retired) continue;
    posted.retired = true;
    owner_.OnRetired(posted.tag, true);
  }
  if (succeeded) scan_ = std::max(scan_, number);
  Posted& posted = ring_[number % ring_.size()];
  posted.retired = true;
  WorkTag tag = posted.tag;
  while (head_ < tail_ && ring_[head_ % ring_.size()].retired) ++head_;
  owner_.OnRetired(tag, succeeded);
}

void Link::OnReceive(const fabric::Succeeded& completion, std::uint32_t cell) {
  last_received_ns_ = shard_.turn_ns();
  if (completion.op == fabric::Op::kReceive) {
    OnArenaHello(completion.byte_len, cell);
  } else if (state_ != State::kUp) {
    Reject(Verdict::kBadState);  // a slot used before the arenas are known
  } else if (wire::ImmKind(completion.imm) == wire::Kind::kControl) {
    OnControlFrame(completion.imm, completion.byte_len);
  } else {
    owner_.OnFrame(completion.imm, completion.byte_len);
  }
  free_cells_.push_back(cell);
  WantFlush();
}

void Link::OnArenaHello(std::uint32_t byte_len, std::uint32_t cell) {
  wire::ArenaHello hello;
  std::span<const std::byte> bytes = arena_->cell(cell);
  if (heard_ || byte_len > bytes.size()) return Reject(Verdict::kBadHello);
  if (ValidateArenaHello(options_.peer, bytes.first(byte_len), hello) != Verdict::kAccept)
    return Reject(Verdict::kBadHello);
  heard_ = true;
  peer_shape_ = {hello.slots, hello.bulk_slots};
  peer_window_ = {fabric::RemoteKey(hello.arena_key), hello.arena_base, hello.arena_bytes};
  state_ = State::kUp;
  owner_.OnUp();
}

void Link::OnControlFrame(std::uint32_t imm, std::uint32_t byte_len) {
  Verdict verdict = ValidateControl(imm, byte_len, arena_->shape().slots, /*from_client=*/!options_.is_client);
  if (verdict != Verdict::kAccept) return Reject(verdict);
  switch (wire::ImmFlags(imm)) {
    case wire::kKeepAlive: return AddControl(0, 0, wire::kKeepAliveAnswer);
    case wire::kKeepAliveAnswer:
      if (probes_ == 0) return Reject(Verdict::kBadControl);
      --probes_;
      first_probe_ns_ = last_probe_ns_;
      return;
    default: return owner_.OnControl(imm);
  }
}

void Link::OnHousekeeping() {
  if (state_ != State::kGreeting && state_ != State::kUp) return;
  std::uint64_t now = shard_.now_ns();
  if (endpoint_->state() != fabric::EndpointState::kReady) return Fail(endpoint_->reason());
  // A client that itself stood still has asked nobody, so it counts from its oldest question.
  bool asked = !options_.is_client || state_ == State::kGreeting || probes_ > 0;
  std::uint64_t since = std::max(last_received_ns_, probes_ > 0 ? first_probe_ns_ - options_.keep_alive_ns : 0);
  if (asked && now - since >= options_.silence_ns)
    return Fail(absl::UnavailableError(absl::StrCat("fit: the peer is silent for ", (now - since) / 1'000'000, " ms")));
  if (head_ < tail_ && now - ring_[head_ % ring_.size()].posted_ns > kOldestWorkNs)
    return Fail(absl::UnavailableError("fit: a work request is older than a second"));
  bool quiet = now - last_sent_ns_ >= options_.keep_alive_ns ||
               now - std::max(last_received_ns_, last_probe_ns_) >= options_.keep_alive_ns;
  if (options_.is_client && state_ == State::kUp && quiet && probes_ < 2) {
    if (probes_++ == 0) first_probe_ns_ = now;
    last_probe_ns_ = now;
    counters_.keep_alives.Add();
    AddControl(0, 0, wire::kKeepAlive);
  }
  // Links share their ticks, so that an idle shard wakes once for all of them.
  shard_.wheel().Arm(housekeeping_, (now / options_.keep_alive_ns + 1) * options_.keep_alive_ns);
}

void Link::Reject(Verdict verdict) {
  counters_.rejects[static_cast<std::size_t>(verdict)].Add();
  Fail(absl::InvalidArgumentError(absl::StrCat("fit: a frame of the peer is refused; reason=", View(Name(verdict)))));
}

void Link::Fail(const absl::Status& reason) {
  if (state_ == State::kDraining || state_ == State::kGone) return;
  absl::Status why = reason.ok() ? absl::UnavailableError("fit: the connection ended") : reason;
  if (state_ != State::kConnecting) shard_.Watch(*this);
  state_ = State::kDraining;
  drain_start_ns_ = shard_.now_ns();
  housekeeping_.Cancel();
  endpoint_->Fail(why);
  owner_.OnFailed(why);
}

void Link::Destroy() {
  if (state_ == State::kGone) return;
  if (state_ == State::kDraining) counters_.drain_ns.Add(shard_.now_ns() - drain_start_ns_);
  state_ = State::kGone;
  housekeeping_.Cancel();
  shard_.Unwatch(*this);
  shard_.ForgetFlush(*this);
  fabric::EndpointId id = endpoint_->id();
  endpoint_.reset();  // the peer's writes have ended
  shard_.Detach(id);
  for (; head_ < tail_; ++head_) {
    Posted& posted = ring_[head_ % ring_.size()];
    if (!std::exchange(posted.retired, true)) owner_.OnRetired(posted.tag, false);
  }
  for (const Gathered& gathered : batch_) owner_.OnRetired(gathered.tag, false);
  batch_.clear();
  owner_.OnGone();
}

}  // namespace ashlar::fit
