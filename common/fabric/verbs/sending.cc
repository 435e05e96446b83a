// The data path of VerbsEndpoint: the ledger's requests become work requests, completions end them.
#include <arpa/inet.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/fabric/names.h"
#include "common/fabric/verbs/endpoint.h"

namespace ashlar::fabric::verbs {
namespace {

ibv_sge SliceOf(const LocalBytes& local) {
  return {.addr = reinterpret_cast<std::uint64_t>(local.data),
          .length = local.bytes,
          .lkey = static_cast<const VerbsRegion*>(local.region)->mr()->lkey};
}

}  // namespace

void VerbsEndpoint::DoPost() {
  if (phase_ != Phase::kOpen) return;
  while (FillChain()) {
    chain_.requests[chain_.count - 1].send_flags |= IBV_SEND_SIGNALED;
    ibv_send_wr* bad = nullptr;
    const int error = ::ibv_post_send(id_->qp, chain_.requests.data(), &bad);
    if (error == 0) continue;
    return FailFor(absl::UnavailableError(Reason(absl::StrCat("can't be sent to: ", std::strerror(std::abs(error))))),
                   OldestSend(Status::kFatal));
  }
}

// The next doorbell. False: nothing to post, or no room in the send queue.
bool VerbsEndpoint::FillChain() {
  chain_.count = 0;
  RequestRing& sends = ledger().sends();
  next_start_ = std::max(next_start_, sends.begin());
  while (chain_.count < kDoorbell && send_room() > 0) {
    if (!bindings_.empty() && bindings_.front().before <= next_start_) {
      AddBinding(bindings_.front());
      bindings_.pop_front();
      continue;
    }
    if (next_start_ == sends.end()) break;
    const LedgerEntry& entry = sends.At(next_start_);
    const std::size_t places = entry.op == Op::kWriteWithImm && !caps().native_imm ? 2 : 1;
    if (send_room() < places || kDoorbell - chain_.count < places) break;
    AddRequest(next_start_++, entry);
  }
  return chain_.count > 0;
}

ibv_send_wr& VerbsEndpoint::AddWork(SendSlot slot) {
  ibv_send_wr& request = chain_.requests[chain_.count];
  request = {};
  request.wr_id = Pack({.endpoint = EndpointBits(id()), .side = Ledger::Side::kSend, .number = static_cast<std::uint32_t>(sent_end_)});
  if (chain_.count > 0) chain_.requests[chain_.count - 1].next = &request;
  ++chain_.count;
  sent_[sent_end_++ % sent_.size()] = slot;
  return request;
}

void VerbsEndpoint::AddBinding(const Binding& binding) {
  windows_.FillBind(binding.key, AddWork({.kind = SendSlot::Kind::kBinding}));
}

void VerbsEndpoint::AddSlices(ibv_send_wr& request, const LedgerEntry& entry) {
  auto& slices = chain_.slices[chain_.count - 1];
  request.sg_list = slices.data();
  for (const LocalBytes& local : entry.local()) {
    if (local.bytes > 0) slices[static_cast<std::size_t>(request.num_sge++)] = SliceOf(local);  // a length of 0 means 2 GiB to some NICs
  }
  if (entry.op != Op::kRead && entry.bytes > 0 && entry.bytes <= caps().max_inline) request.send_flags |= IBV_SEND_INLINE;
}

void VerbsEndpoint::AddRequest(std::uint64_t position, const LedgerEntry& entry) {
  const bool stands_in = entry.op == Op::kWriteWithImm && !caps().native_imm;
  ibv_send_wr& request = AddWork({.kind = SendSlot::Kind::kRequest, .position = position});
  if (entry.fence) request.send_flags |= IBV_SEND_FENCE;
  if (entry.solicited && !stands_in) request.send_flags |= IBV_SEND_SOLICITED;
  if (entry.signalled || entry.op == Op::kRead || entry.op == Op::kRevoke) request.send_flags |= IBV_SEND_SIGNALED;
  if (entry.op == Op::kRevoke) return windows_.FillInvalidate(entry.key, request);
  AddSlices(request, entry);
  request.wr.rdma = {.remote_addr = entry.remote_address, .rkey = entry.key.value()};
  switch (entry.op) {
    case Op::kSend: request.opcode = IBV_WR_SEND; break;
    case Op::kRead: request.opcode = IBV_WR_RDMA_READ; break;
    case Op::kWrite: request.opcode = IBV_WR_RDMA_WRITE; break;
    case Op::kWriteWithImm:
      request.opcode = stands_in ? IBV_WR_RDMA_WRITE : IBV_WR_RDMA_WRITE_WITH_IMM;
      if (!stands_in) request.imm_data = htonl(entry.imm);
      break;
    case Op::kRevoke:
    case Op::kReceive:
    case Op::kReceiveImm: ASHLAR_CHECK(false, "never posted to a send queue: {}", Name(entry.op));
  }
  if (!stands_in) return;
  // Behind the WRITE a message that carries the immediate; what completes it completes both.
  request.send_flags &= ~static_cast<unsigned>(IBV_SEND_SIGNALED);
  ibv_send_wr& message = AddWork({.kind = SendSlot::Kind::kRequest, .position = position});
  const std::size_t index = chain_.count - 1;
  chain_.immediates[index] = EncodeImmediate(mark_, {.imm = entry.imm, .bytes_written = entry.bytes});
  chain_.slices[index][0] = {.addr = reinterpret_cast<std::uint64_t>(chain_.immediates[index].data()),
                             .length = static_cast<std::uint32_t>(chain_.immediates[index].size()),
                             .lkey = 0};  // inline: copied when it is posted
  message.sg_list = chain_.slices[index].data();
  message.num_sge = 1;
  message.opcode = IBV_WR_SEND;
  message.send_flags = IBV_SEND_INLINE | (entry.solicited ? static_cast<unsigned>(IBV_SEND_SOLICITED) : 0u) |
                       (entry.signalled ? static_cast<unsigned>(IBV_SEND_SIGNALED) : 0u);
}

void VerbsEndpoint::DoReceive() {
  RequestRing& receives = ledger().receives();
  while (next_receive_ != receives.end()) {
    std::array<ibv_recv_wr, kDoorbell> requests;
    std::array<std::array<ibv_sge, kMaxSlices>, kDoorbell> slices;
    std::size_t count = 0;
    for (; count < kDoorbell && next_receive_ != receives.end(); ++count, ++next_receive_) {
      const LedgerEntry& entry = receives.At(next_receive_);
      ibv_recv_wr& request = requests[count];
      request = {.wr_id = Pack({.endpoint = EndpointBits(id()),
                                .side = Ledger::Side::kReceive,
                                .number = static_cast<std::uint32_t>(next_receive_)}),
                 .next = nullptr,
                 .sg_list = slices[count].data(),
                 .num_sge = 0};
      for (const LocalBytes& local : entry.local()) {
        if (local.bytes > 0) slices[count][static_cast<std::size_t>(request.num_sge++)] = SliceOf(local);
      }
      if (count > 0) requests[count - 1].next = &request;
    }
    ibv_recv_wr* bad = nullptr;
    const int error = ::ibv_post_recv(id_->qp, requests.data(), &bad);
    if (error == 0) continue;
    return FailFor(absl::UnavailableError(Reason(absl::StrCat("has no receive: ", std::strerror(std::abs(error))))), std::nullopt);
  }
}

absl::StatusOr<RemoteWindow> VerbsEndpoint::DoGrant(CountedRegion& region, std::uint64_t offset, std::uint64_t bytes, Access access) {
  ASHLAR_ASSIGN_OR_RETURN(const RemoteWindow window,
                          windows_.Grant(verbs_domain_.pd(), static_cast<VerbsRegion&>(region), offset, bytes, access));
  bindings_.push_back({.key = window.key, .before = ledger().sends().end()});
  DoPost();
  return window;
}

void VerbsEndpoint::OnDone(const WorkDone& done) {
  // The peer's first message may overtake rdma_cm's word that it has our answer.
  if (phase_ == Phase::kAccepted) Step(ConnectionEvent::kEstablished, "message");
  if (done.id.side == Ledger::Side::kSend) {
    CompleteSend(done.id.number);
  } else {
    CompleteReceiveOf(done);
  }
}

// A success ends everything before it on this queue pair: completions come in order.
void VerbsEndpoint::CompleteSend(std::uint32_t number) {
  const std::optional<std::uint64_t> last = Restore(number, sent_begin_, sent_end_);
  if (!last.has_value()) return counters().unknown.Add();
  for (; sent_begin_ <= *last; ++sent_begin_) {
    const SendSlot& slot = sent_[sent_begin_ % sent_.size()];
    if (slot.kind == SendSlot::Kind::kBinding) continue;
    const LedgerToken token(slot.position);
    LedgerEntry* entry = ledger().sends().Find(token);
    if (entry == nullptr || entry->done) continue;  // the WRITE before the message that stands in for its immediate
    if (entry->op == Op::kRevoke) windows_.Invalidated(entry->key);
    Succeed(token);
  }
  RetireDone();
  DoPost();  // what waited for room
}

void VerbsEndpoint::CompleteReceiveOf(const WorkDone& done) {
  RequestRing& receives = ledger().receives();
  const std::optional<std::uint64_t> position = Restore(done.id.number, receives.begin(), receives.end());
  if (!position.has_value()) return counters().unknown.Add();
  if (*position != receives.begin()) return PeerGone("used receives out of order");
  const LedgerEntry& receive = receives.At(*position);
  counters().bytes_received.Add(done.byte_len);
  if (done.has_imm) return CompleteReceive(Op::kReceiveImm, done.byte_len, done.imm);
  const std::optional<Immediate> immediate = ImmediateIn(receive, done.byte_len);
  if (!immediate.has_value()) return CompleteReceive(Op::kReceive, done.byte_len, 0);
  if (immediate->bytes_written > caps().max_message) {
    counters().violations.Add();
    return PeerGone("announced a write longer than any");
  }
  CompleteReceive(Op::kReceiveImm, immediate->bytes_written, immediate->imm);
}

std::optional<Immediate> VerbsEndpoint::ImmediateIn(const LedgerEntry& receive, std::uint32_t byte_len) const {
  ImmediateBytes message;
  if (byte_len != message.size()) return std::nullopt;
  std::size_t have = 0;
  for (const LocalBytes& local : receive.local()) {
    const std::size_t part = std::min<std::size_t>(local.bytes, message.size() - have);
    std::memcpy(message.data() + have, local.data, part);
    have += part;
  }
  return ParseImmediate(mark_, message);
}

void VerbsEndpoint::OnFailed(const WorkFailed& failed) {
  Ledger::Cause cause{.side = failed.id.side, .status = failed.status, .vendor = failed.vendor};
  if (failed.id.side == Ledger::Side::kReceive) {
    RequestRing& receives = ledger().receives();
    if (const auto position = Restore(failed.id.number, receives.begin(), receives.end())) cause.token = LedgerToken(*position);
  } else if (const auto number = Restore(failed.id.number, sent_begin_, sent_end_)) {
    const SendSlot& slot = sent_[*number % sent_.size()];
    // A failed binding is no request of the caller's; then the oldest one is the first to suffer.
    cause.token = LedgerToken(slot.kind == SendSlot::Kind::kRequest ? slot.position : ledger().sends().begin());
  }
  FailFor(absl::UnavailableError(Reason(absl::StrCat("ended a request: ", std::string(Name(failed.status)), " vendor ", failed.vendor))),
          cause);
}

}  // namespace ashlar::fabric::verbs
