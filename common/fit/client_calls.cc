// Calls at the client: from Start through a slot to OnDone and OnReleased.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/fit/connection_impl.h"

namespace ashlar::fit {
namespace {

constexpr std::uint64_t kNsPerUs = 1000;

absl::Status CheckSlice(const fabric::Slice& slice) {
  if (slice.region == nullptr || slice.offset + slice.bytes > slice.region->bytes().size() || slice.bytes == 0)
    return absl::InvalidArgumentError("fit: a slice is empty or not inside its region");
  return absl::OkStatus();
}

CallLane LaneOf(const OpcodeInfo& info) {
  if (info.is_write) return CallLane::kWrite;
  return info.max_request_bulk > 0 || info.max_reply_bulk > 0 ? CallLane::kBulk : CallLane::kPlain;
}

std::uint32_t BudgetUs(std::uint64_t deadline_ns, std::uint64_t now_ns) {
  std::uint64_t left_us = deadline_ns > now_ns ? (deadline_ns - now_ns) / kNsPerUs : 0;
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(left_us, 1, wire::kMaxBudgetUs));
}

Hints HintsOf(wire::u32 bits) {
  return {.degraded = (bits & wire::kHintDegraded) != 0, .drain = (bits & wire::kHintDrain) != 0,
          .pool_low = (bits & wire::kHintPoolLow) != 0, .ask_state = (bits & wire::kHintAskState) != 0, .write_batches = static_cast<std::uint8_t>(bits >> 8),
          .retry_after_ms = static_cast<std::uint16_t>(bits >> 16)};
}

}  // namespace

absl::Status ConnectionImpl::CheckCall(wire::Opcode opcode, std::span<const std::byte> payload,
                                       std::span<const fabric::Slice> bulk) const {
  const OpcodeInfo* info = FindOpcode(opcode);
  if (info == nullptr) return absl::InvalidArgumentError("fit: no such opcode");
  if (payload.size() > info->max_request_payload)
    return absl::InvalidArgumentError(absl::StrCat("fit: payload of ", payload.size(), " bytes, the opcode takes ",
                                                   info->max_request_payload));
  std::uint64_t bulk_bytes = 0;
  for (const fabric::Slice& slice : bulk) {
    ASHLAR_RETURN_IF_ERROR(CheckSlice(slice));
    bulk_bytes += slice.bytes;
  }
  if (bulk_bytes > info->max_request_bulk || bulk_bytes % kPageBytes != 0 || bulk.size() > wire::kBulkPages)
    return absl::InvalidArgumentError(absl::StrCat("fit: bulk of ", bulk_bytes, " bytes in ", bulk.size(), " slices; the opcode takes whole pages up to ",
                                                   info->max_request_bulk));
  return absl::OkStatus();
}

absl::Status ConnectionImpl::Start(wire::Opcode opcode, std::span<const std::byte> payload,
                                   std::span<const fabric::Slice> bulk, Deadline deadline, PendingCall& user) {
  if (closing_) return absl::FailedPreconditionError("fit: the connection is being destroyed");
  ASHLAR_RETURN_IF_ERROR(CheckCall(opcode, payload, bulk));
  if (queued_ >= options_.max_queued)
    return absl::ResourceExhaustedError(absl::StrCat("fit: ", queued_, " calls wait for ", options_.peer));
  Call& call = calls_.Take([this] {
    auto made = std::make_unique<Call>(nullptr);
    made->deadline.SetCallback([this, of = made.get()] {
      Expire(*of, absl::DeadlineExceededError(absl::StrCat("fit: no answer from ", options_.peer, " in time")));
    });
    return made;
  });
  call.user = &user;
  call.info = FindOpcode(opcode);
  call.payload.assign(payload.begin(), payload.end());
  call.bulk.assign(bulk.begin(), bulk.end());
  call.bulk_bytes = 0;
  for (const fabric::Slice& slice : bulk) call.bulk_bytes += slice.bytes;
  call.started_ns = shard_.turn_ns();
  call.deadline_ns = deadline.at_ns;
  call.lane = LaneOf(*call.info);
  call.slot = kNoSlot;
  call.done = call.resent = false;
  shard_.wheel().Arm(call.deadline, deadline.at_ns);
  Enqueue(call, /*in_front=*/false);
  Dispatch(call.started_ns);
  return absl::OkStatus();
}

void ConnectionImpl::Enqueue(Call& call, bool in_front) {
  in_front ? QueueOf(call).PushFront(call) : QueueOf(call).PushBack(call);
  ++queued_;
}

void ConnectionImpl::Dispatch(std::uint64_t now_ns) {
  if (!LinkIsUp()) return;
  for (CallQueue& queue : queues_)
    while (!queue.empty()) {
      Call& call = *queue.front();
      std::uint16_t slot = slots_.Take(call);
      if (slot == kNoSlot) break;
      queue.Remove(call);
      --queued_;
      Send(slot, now_ns);
    }
  ShowSlots();
}

void ConnectionImpl::ShowSlots() {
  slots_in_use_.Set(slots_.in_use());
  slots_quarantined_.Set(slots_.quarantined());
  calls_queued_.Set(queued_);
}

// Builds the frame in the slot's out-buffer and gathers its work requests. Also for a resend: same slot, same sequence.
void ConnectionImpl::Send(std::uint16_t index, std::uint64_t now_ns) {
  ClientSlot& slot = slots_.at(index);
  Call& call = *slot.call;
  std::uint32_t payload_bytes = static_cast<std::uint32_t>(call.payload.size());
  if (payload_bytes > 0) std::memcpy(out_->payload(index).data(), call.payload.data(), payload_bytes);
  wire::Header header{.magic = 0, .version = 0, .opcode = static_cast<wire::u16>(call.info->opcode),
                      .sequence = slots_.sequence(index), .connection_epoch = grant_.connection_epoch,
                      .sender_incarnation = shard_.options().incarnation.value(), .slot = index,
                      .payload_bytes = payload_bytes, .bulk_bytes = call.bulk_bytes,
                      .time_us = BudgetUs(call.deadline_ns, now_ns),
                      .flags = static_cast<wire::u16>(call.resent ? wire::kResend : 0), .status = 0, .hints = 0,
                      .payload_crc = 0, .header_crc = 0};
  SealHeader(header, call.payload);
  out_->WriteHeader(index, header);

  if (call.bulk_bytes > 0) SendBulk(call, link_->peer_shape().BulkOffset(index));
  fabric::Slice frame = out_->SlotSlice(index, static_cast<std::uint32_t>(sizeof(header)) + payload_bytes);
  ++slot.work_requests;
  link_->Add({.op = fabric::Op::kWriteWithImm, .solicited = true,
              .imm = wire::Imm(wire::Kind::kRequest, index, header.sequence, call.bulk_bytes > 0 ? wire::kImmBulk : 0),
              .local = std::span(&frame, 1), .window = link_->peer_window(),
              .offset = link_->peer_shape().SlotOffset(index)},
             {.kind = WorkTag::Kind::kFrame, .slot = index});
}

void ConnectionImpl::SendBulk(Call& call, std::uint64_t remote_offset) {
  const fabric::Caps& caps = shard_.device().caps();
  std::span<const fabric::Slice> rest = call.bulk;
  while (!rest.empty()) {
    std::size_t count = 0;
    std::uint64_t bytes = 0;
    while (count < rest.size() && count < caps.max_slices && (count == 0 || bytes + rest[count].bytes <= caps.max_message))
      bytes += rest[count++].bytes;
    ++call.work_requests;
    link_->Add({.op = fabric::Op::kWrite, .local = rest.first(count), .window = link_->peer_window(), .offset = remote_offset},
               {.kind = WorkTag::Kind::kBulk, .owner = &call});
    remote_offset += bytes;
    rest = rest.subspan(count);
  }
}

void ConnectionImpl::OnFrame(std::uint32_t imm, std::uint32_t byte_len) {
  FrameContext context{.kind = wire::Kind::kReply, .connection_epoch = grant_.connection_epoch,
                       .peer_incarnation = grant_.server_incarnation.value(), .shape = in_->shape(),
                       .slots = slots_.expected()};
  Frame frame;
  Verdict verdict = ValidateFrame(context, imm, byte_len, in_->bytes(), frame, scratch_);
  if (verdict == Verdict::kStale) return stale_.Add();
  if (verdict != Verdict::kAccept) return link_->Reject(verdict);
  failures_ = 0;
  std::uint16_t index = static_cast<std::uint16_t>(frame.slot);
  Call* call = slots_.at(index).call;  // null: quarantined, the caller has left
  slots_.Apply(index, SlotEvent::kReply);
  if (call != nullptr) {
    Code code = static_cast<Code>(frame.header.status);
    if (code == Code::kOutcomeUnknown) outcome_unknown_.Add();
    call->slot = kNoSlot;
    Finish(*call, {.status = code == Code::kOk ? absl::OkStatus() : ToStatus(code, options_.peer), .code = code,
                   .payload = std::span(scratch_).first(frame.header.payload_bytes),
                   .bulk = in_->bulk(index).first(frame.header.bulk_bytes), .hints = HintsOf(frame.header.hints),
                   .server_time_us = frame.header.time_us});
  }
  FreeIfRetired(index);  // not earlier: the bulk is looked at in OnDone
}

void ConnectionImpl::OnControl(std::uint32_t imm) {  // a cancel-ack
  std::uint16_t index = static_cast<std::uint16_t>(wire::ImmSlot(imm));
  if (slots_.at(index).state != SlotState::kQuarantined || wire::ImmGeneration(imm) != (slots_.sequence(index) & 0xFFF))
    return stale_.Add();
  slots_.Apply(index, SlotEvent::kCancelAck);
  FreeIfRetired(index);
}

void ConnectionImpl::FreeIfRetired(std::uint16_t index) {
  ClientSlot& slot = slots_.at(index);
  if (slot.state != SlotState::kAnswered || slot.work_requests > 0) return;
  slots_.Apply(index, SlotEvent::kRetired);
  if (queued_ > 0) return Dispatch(shard_.turn_ns());
  ShowSlots();
}

// The caller stops waiting: the slot stays away until nothing can arrive in it.
void ConnectionImpl::Expire(Call& call, const absl::Status& status) {
  if (call.queued) {
    QueueOf(call).Remove(call);
    --queued_;
  } else {
    std::uint16_t index = std::exchange(call.slot, kNoSlot);
    slots_.Apply(index, SlotEvent::kExpire);
    if (LinkIsUp()) {
      cancels_.Add();
      link_->AddControl(index, slots_.sequence(index), wire::kCancel);
      if (slots_.quarantined() * 2 > slots_.limit())
        link_->Fail(absl::UnavailableError(absl::StrCat("fit: more than half of the slots to ", options_.peer, " are quarantined")));
    } else if (link_ == nullptr || link_->state() == Link::State::kConnecting || link_->state() == Link::State::kGreeting) {
      slots_.Apply(index, SlotEvent::kGone);  // the endpoint it was sent over is destroyed
    }
  }
  ShowSlots();
  Finish(call, {.status = status});
}

void ConnectionImpl::Finish(Call& call, const CallResult& result) {
  call.deadline.Cancel();
  call.done = true;
  OpcodeCounters& counters = opcode_counters_[static_cast<std::size_t>(call.info->opcode)];
  bool answered = result.status.ok() || result.code != Code::kUnavailable;
  std::size_t code = answered ? static_cast<std::size_t>(result.code) : counters.by_code.size() - 1;
  counters.by_code[code].Add();
  counters.call_ns.Add(std::max(shard_.turn_ns(), call.started_ns) - call.started_ns);
  if (absl::IsDeadlineExceeded(result.status)) deadline_exceeded_.Add();
  call.user->OnDone(result);
  ReleaseIfDone(call);
}

void ConnectionImpl::ReleaseIfDone(Call& call) {
  if (!call.done || call.work_requests > 0 || call.user == nullptr) return;
  PendingCall* user = std::exchange(call.user, nullptr);
  calls_.Return(call);
  user->OnReleased();
}

// A new endpoint is up. The same server knows the old sequences; another one knows nothing.
void ConnectionImpl::ResendOrRequeue() {
  bool same_server = last_up_ == incarnation_;
  std::vector<std::pair<std::uint16_t, Call*>> sent;  // callers may start new calls meanwhile
  for (std::uint16_t index = slots_.size(); index-- > 0;)  // backwards: PushFront keeps the order
    if (slots_.at(index).state == SlotState::kSent) sent.emplace_back(index, slots_.at(index).call);
  for (auto [index, sent_call] : sent) {
    if (slots_.at(index).call != sent_call) continue;  // cancelled by such a caller
    Call& call = *sent_call;
    bool idempotent = call.info->retry == RetryClass::kIdempotent;
    call.resent = true;
    if (same_server && index < slots_.limit()) {
      (idempotent ? resends_idempotent_ : resends_once_).Add();
      Send(index, shard_.turn_ns());
      continue;
    }
    call.slot = kNoSlot;
    slots_.Apply(index, SlotEvent::kGone);
    if (idempotent) {
      resends_idempotent_.Add();
      Enqueue(call, /*in_front=*/true);
    } else {
      outcome_unknown_.Add();
      Finish(call, {.status = ToStatus(Code::kOutcomeUnknown, options_.peer), .code = Code::kOutcomeUnknown});
    }
  }
}

void ConnectionImpl::Cancel(PendingCall& user) {
  absl::Status cancelled = absl::CancelledError("fit: cancelled by its caller");
  for (const auto& call : calls_.all())
    if (call->user == &user && !call->done) return Expire(*call, cancelled);
  for (const auto& read : reads_.all())
    if (read->user == &user && !read->done) return ExpireRead(*read, cancelled);
}

}  // namespace ashlar::fit
