// Requests at the server: which to run, which to answer from the cache, which to drop; and how answers go out.
#include <algorithm>

#include "common/base/check.h"
#include "common/fit/server_impl.h"

namespace ashlar::fit {
namespace {

constexpr std::uint64_t kNsPerUs = 1000;

std::uint32_t HintBits(const Hints& hints) {
  return (hints.degraded ? wire::kHintDegraded : 0u) | (hints.drain ? wire::kHintDrain : 0u) |
         (hints.pool_low ? wire::kHintPoolLow : 0u) | (hints.ask_state ? wire::kHintAskState : 0u) | static_cast<std::uint32_t>(hints.write_batches) << 8 |
         static_cast<std::uint32_t>(hints.retry_after_ms) << 16;
}

// Bulk that both ends have room for; none once the client is gone or has a smaller arena.
class ReplyWriterImpl final : public ReplyWriter::Impl {
 public:
  ReplyWriterImpl(std::shared_ptr<CallerRecord> record, std::uint16_t slot, std::shared_ptr<Arena> in, bool has_bulk)
      : record_(std::move(record)), in_(std::move(in)), slot_(slot), has_bulk_(has_bulk) {}
  ~ReplyWriterImpl() override {
    if (!sent_) Send(Code::kUnavailable, 0, 0, {});
  }

  std::span<std::byte> payload() override { return record_->out->payload(slot_); }
  std::span<std::byte> bulk() override { return has_bulk_ ? record_->out->bulk(slot_) : std::span<std::byte>(); }

  void Send(Code code, std::uint32_t payload_bytes, std::uint32_t bulk_bytes, Hints hints) override {
    ASHLAR_CHECK(!sent_, "one request, one answer; slot={}", slot_);
    ASHLAR_CHECK(bulk_bytes <= bulk().size() && bulk_bytes % kPageBytes == 0, "bulk_bytes={} of {}", bulk_bytes, bulk().size());
    sent_ = true;
    if (record_->server != nullptr) record_->server->Answer(record_, slot_, code, payload_bytes, bulk_bytes, hints);
  }

 private:
  const std::shared_ptr<CallerRecord> record_;
  const std::shared_ptr<Arena> in_;  // the request's bulk lies there
  const std::uint16_t slot_;
  const bool has_bulk_;
  bool sent_ = false;
};

}  // namespace

void ServerImpl::Apply(CallerRecord& record, std::uint16_t slot, ServerSlotEvent event) {
  CallerSlot& of = record.slots[slot];
  std::optional<ServerSlotState> next = Next(of.state, event);
  ASHLAR_CHECK(next.has_value(), "slot={} state={} event={}", slot, static_cast<int>(of.state), static_cast<int>(event));
  of.state = *next;
}

void ServerImpl::OnRequest(ServerLink& link, std::uint32_t imm, std::uint32_t byte_len) {
  CallerRecord& record = *link.record();
  FrameContext context{.kind = wire::Kind::kRequest, .connection_epoch = link.link().connection_epoch(),
                       .peer_incarnation = record.client.incarnation.value(), .shape = link.link().arena().shape(),
                       .slots = std::span(record.expected).first(std::min<std::size_t>(record.expected.size(), link.link().peer_shape().slots))};
  Frame frame;
  Verdict verdict = ValidateFrame(context, imm, byte_len, link.link().arena().bytes(), frame, scratch_);
  if (verdict == Verdict::kStale) return stale_.Add();
  if (IsReject(verdict)) return link.link().Reject(verdict);
  std::uint16_t slot = static_cast<std::uint16_t>(frame.slot);
  Arrived request{frame.header, std::span(scratch_).first(frame.header.payload_bytes), link.link().shared_arena(),
                  verdict != Verdict::kUnknownOpcode, shard_.turn_ns()};
  if ((frame.header.flags & wire::kResend) != 0) resends_.Add();
  if (frame.header.sequence == record.expected[slot].sequence) return OnRepeat(link, slot, request);
  Run(link, slot, request);
}

// The newest request of its slot once more: over a new endpoint, because its answer got lost.
void ServerImpl::OnRepeat(ServerLink& link, std::uint16_t index, const Arrived& request) {
  CallerRecord& record = *link.record();
  CallerSlot& slot = record.slots[index];
  if (slot.asked_epoch == link.link().connection_epoch()) return stale_.Add();  // a duplicate on the same endpoint
  if (request.header.opcode != slot.opcode) return link.link().Reject(Verdict::kBadOpcode);
  switch (slot.state) {
    case ServerSlotState::kRunning:
      slot.asked_epoch = link.link().connection_epoch();  // the running one will answer
      return;
    case ServerSlotState::kIdle: {
      const OpcodeInfo* info = FindOpcode(slot.opcode);
      bool cached = slot.has_reply && slot.reply.bulk_bytes == 0 && (info == nullptr || info->cacheable);
      if (!cached) return Run(link, index, request);
      slot.asked_epoch = link.link().connection_epoch();
      slot.reply.flags |= wire::kFromCache;
      replayed_.Add();
      Apply(record, index, ServerSlotEvent::kReplay);
      return PostReply(record, index);
    }
    case ServerSlotState::kReplying:
    case ServerSlotState::kRunningQueued:
    case ServerSlotState::kReplyingQueued:
      break;  // these belong to this endpoint, where it was asked already
  }
  link.link().Reject(Verdict::kBadState);
}

void ServerImpl::Run(ServerLink& link, std::uint16_t index, const Arrived& request) {
  const std::shared_ptr<CallerRecord>& record = link.record();
  CallerSlot& slot = record->slots[index];
  bool same_endpoint = slot.asked_epoch == link.link().connection_epoch();
  // A slot is used again only after its answer, so a second request in a running one breaks the protocol.
  if (slot.state == ServerSlotState::kRunning && same_endpoint) return link.link().Reject(Verdict::kBadState);
  bool at_once = slot.state == ServerSlotState::kIdle;
  Apply(*record, index, ServerSlotEvent::kRequest);
  if (at_once) return Begin(record, index, request);
  slot.waiting = std::make_unique<WaitingRequest>(WaitingRequest{
      request.header, {request.payload.begin(), request.payload.end()}, request.in, request.known_opcode, request.arrived_ns});
  record->expected[index].open = false;
}

void ServerImpl::Begin(const std::shared_ptr<CallerRecord>& record, std::uint16_t index, const Arrived& request) {
  CallerSlot& slot = record->slots[index];
  const wire::Header& header = request.header;
  record->expected[index].sequence = header.sequence;
  slot.opcode = header.opcode;
  slot.has_reply = slot.answered = false;
  slot.asked_epoch = header.connection_epoch;
  slot.arrived_ns = request.arrived_ns;
  ++record->running;
  bool has_bulk = record->link != nullptr && index < record->link->link().peer_shape().bulk_slots;
  ReplyWriter reply(std::make_unique<ReplyWriterImpl>(record, index, request.in, has_bulk));
  if (!request.known_opcode) {
    unknown_opcodes_.Add();
    return reply.Send(Code::kUnknownOpcode);
  }
  bool resend = (header.flags & wire::kResend) != 0;
  wire::Opcode opcode = static_cast<wire::Opcode>(header.opcode);
  // The call was sent to a record that is gone: whether it ran nobody knows any more.
  if (resend && record->endpoints_seen <= 1 && RetryClassOf(opcode) == RetryClass::kAtMostOnce) {
    forgotten_.Add();
    return reply.Send(Code::kOutcomeUnknown);
  }
  std::uint64_t deadline_ns = request.arrived_ns + std::min(header.time_us, wire::kMaxBudgetUs) * kNsPerUs;
  if (shard_.turn_ns() >= deadline_ns) {
    not_begun_.Add();
    return reply.Send(Code::kUnavailable);
  }
  RequestView view{.opcode = opcode, .payload = request.payload,
                   .bulk = request.in->bulk(index).first(header.bulk_bytes), .bulk_slice = {},
                   .deadline = {deadline_ns}, .resend = resend,
                   .session = record->link != nullptr ? record->link->session() : nullptr};
  if (header.bulk_bytes > 0) view.bulk_slice = request.in->BulkSlice(index, header.bulk_bytes);
  handler_.Handle(view, std::move(reply));
}

void ServerImpl::Answer(const std::shared_ptr<CallerRecord>& record, std::uint16_t index, Code code,
                        std::uint32_t payload_bytes, std::uint32_t bulk_bytes, Hints hints) {
  CallerSlot& slot = record->slots[index];
  const OpcodeInfo* info = FindOpcode(slot.opcode);
  ASHLAR_CHECK(info == nullptr || (payload_bytes <= info->max_reply_payload && bulk_bytes <= info->max_reply_bulk),
               "an answer beyond its opcode's limits; opcode={} payload_bytes={} bulk_bytes={}", slot.opcode, payload_bytes, bulk_bytes);
  --record->running;
  std::uint64_t served_ns = shard_.now_ns() - slot.arrived_ns;
  if (info != nullptr) {
    opcode_counters_[slot.opcode].by_code[static_cast<std::size_t>(code)].Add();
    opcode_counters_[slot.opcode].serve_ns.Add(served_ns);
  }
  slot.has_reply = true;
  slot.reply = {.magic = 0, .version = 0, .opcode = slot.opcode, .sequence = record->expected[index].sequence,
                .connection_epoch = 0, .sender_incarnation = shard_.options().incarnation.value(), .slot = index,
                .payload_bytes = payload_bytes, .bulk_bytes = bulk_bytes,
                .time_us = static_cast<wire::u32>(std::min<std::uint64_t>(served_ns / kNsPerUs, UINT32_MAX)), .flags = 0,
                .status = static_cast<wire::u16>(code), .hints = HintBits(hints), .payload_crc = 0, .header_crc = 0};
  if (slot.state == ServerSlotState::kRunningQueued) {  // the client has moved on
    slot.answered = true;
    return shard_.Defer([record, index] { if (record->server != nullptr) record->server->Settle(record, index); });
  }
  bool awaited = record->link != nullptr && record->link->link().up() &&
                 record->link->link().connection_epoch() == slot.asked_epoch;
  Apply(*record, index, awaited ? ServerSlotEvent::kAnswer : ServerSlotEvent::kAnswerUnsent);
  if (awaited) PostReply(*record, index);
}

void ServerImpl::PostReply(CallerRecord& record, std::uint16_t index) {
  CallerSlot& slot = record.slots[index];
  Link& link = record.link->link();
  slot.reply.connection_epoch = link.connection_epoch();
  wire::Header header = slot.reply;
  SealHeader(header, record.out->payload(index).first(header.payload_bytes));
  record.out->WriteHeader(index, header);
  WorkTag tag{.kind = WorkTag::Kind::kFrame, .slot = index};
  if (header.bulk_bytes > 0) {
    std::uint32_t most = shard_.device().caps().max_message;
    for (std::uint32_t done = 0; done < header.bulk_bytes; done += most, ++slot.work_requests) {
      fabric::Slice part = record.out->BulkSlice(index, std::min(most, header.bulk_bytes - done));
      part.offset += done;
      link.Add({.op = fabric::Op::kWrite, .local = std::span(&part, 1), .window = link.peer_window(),
                .offset = link.peer_shape().BulkOffset(index) + done}, tag);
    }
  }
  fabric::Slice frame = record.out->SlotSlice(index, static_cast<std::uint32_t>(sizeof(header)) + header.payload_bytes);
  ++slot.work_requests;
  link.Add({.op = fabric::Op::kWriteWithImm, .solicited = true,
            .imm = wire::Imm(wire::Kind::kReply, index, header.sequence, header.bulk_bytes > 0 ? wire::kImmBulk : 0),
            .local = std::span(&frame, 1), .window = link.peer_window(), .offset = link.peer_shape().SlotOffset(index)}, tag);
}

void ServerImpl::OnFrameRetired(CallerRecord& record, std::uint16_t index) {
  CallerSlot& slot = record.slots[index];
  // Behind a failed link OnLinkGone tidies up.
  if (--slot.work_requests > 0 || record.link == nullptr || !record.link->link().up()) return;
  if (slot.state == ServerSlotState::kReplying) return Apply(record, index, ServerSlotEvent::kRetired);
  const std::shared_ptr<CallerRecord>& shared = record.link->record();
  shard_.Defer([shared, index] { if (shared->server != nullptr) shared->server->Settle(shared, index); });
}

// Between handlers: what the newest events allow for a slot in which a request waits, or waited.
void ServerImpl::Settle(const std::shared_ptr<CallerRecord>& record, std::uint16_t index) {
  using enum ServerSlotState;
  CallerSlot& slot = record->slots[index];
  if (slot.state == kRunning && slot.answered) return Apply(*record, index, ServerSlotEvent::kAnswerUnsent);
  if (slot.state == kReplying && slot.work_requests == 0) return Apply(*record, index, ServerSlotEvent::kRetired);
  if (slot.state == kRunningQueued && slot.answered) Apply(*record, index, ServerSlotEvent::kAnswerUnsent);
  else if (slot.state == kReplyingQueued && slot.work_requests == 0) Apply(*record, index, ServerSlotEvent::kRetired);
  else return;
  record->expected[index].open = true;
  std::unique_ptr<WaitingRequest> waiting = std::move(slot.waiting);
  Begin(record, index, {waiting->header, waiting->payload, waiting->in, waiting->known_opcode, waiting->arrived_ns});
}

// Only a request that has not begun can be taken back; a running one's answer is the answer.
void ServerImpl::OnCancel(ServerLink& link, std::uint32_t imm) {
  const std::shared_ptr<CallerRecord>& record = link.record();
  std::uint16_t index = static_cast<std::uint16_t>(wire::ImmSlot(imm));
  if (index >= record->slots.size()) return link.link().Reject(Verdict::kBadSlot);
  CallerSlot& slot = record->slots[index];
  if (slot.waiting == nullptr || wire::ImmGeneration(imm) != (slot.waiting->header.sequence & 0xFFF)) return;
  std::uint64_t sequence = slot.waiting->header.sequence;
  slot.waiting.reset();
  record->expected[index].open = true;
  cancelled_.Add();
  Apply(*record, index, ServerSlotEvent::kCancel);
  Settle(record, index);
  link.link().AddControl(index, sequence, wire::kCancelAck);
}

void ServerImpl::OnLinkGone(ServerLink& gone) {
  CallerRecord& record = *gone.record();
  const auto slot_count = static_cast<std::uint16_t>(record.slots.size());  // at most 1,024
  for (std::uint16_t index = 0; index < slot_count; ++index) {
    CallerSlot& slot = record.slots[index];
    ASHLAR_CHECK(slot.work_requests == 0, "an endpoint is destroyed, and its work is not; slot={}", index);
    slot.waiting.reset();  // not begun: the client sends it again
    record.expected[index].open = true;
    Apply(record, index, ServerSlotEvent::kEndpointGone);
    if (slot.state == ServerSlotState::kRunning && slot.answered) Apply(record, index, ServerSlotEvent::kAnswerUnsent);
  }
  record.link = nullptr;
  record.idle_since_ns = shard_.now_ns();
  links_up_.Sub();
  auto self = gone.self;
  std::shared_ptr<ServerLink> last(std::move(*self));  // it stands on the stack below us
  links_.erase(self);
  shard_.Defer([last = std::move(last)] {});
  if (!replacing_) handler_.OnClientDown(record.client);
}

}  // namespace ashlar::fit
