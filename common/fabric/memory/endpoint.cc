#include "common/fabric/memory/endpoint.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/fabric/names.h"

namespace ashlar::fabric::memory {
namespace {

std::vector<std::byte> Gather(const LedgerEntry& entry) {
  std::vector<std::byte> bytes;
  bytes.reserve(entry.bytes);
  for (const LocalBytes& slice : entry.local()) bytes.insert(bytes.end(), slice.data, slice.data + slice.bytes);
  return bytes;
}

void Scatter(std::span<const std::byte> bytes, const LedgerEntry& entry) {
  for (const LocalBytes& slice : entry.local()) {
    const std::size_t part = std::min<std::size_t>(slice.bytes, bytes.size());
    if (part > 0) std::memcpy(slice.data, bytes.data(), part);
    bytes = bytes.subspan(part);
  }
}

}  // namespace

MemoryQueue::MemoryQueue(int depth, std::shared_ptr<FabricStats> stats)
    : QueueBase(depth, std::move(stats)), event_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void MemoryQueue::Progress() {
  if (awake_) {
    std::uint64_t ignored = 0;
    [[maybe_unused]] const auto n = ::read(event_fd_.get(), &ignored, sizeof(ignored));
    awake_ = false;
  }
  for (MemoryEndpoint* endpoint : endpoints_) endpoint->Step();
}

void MemoryQueue::PrepareSleep() {
  if (std::ranges::any_of(endpoints_, [](const MemoryEndpoint* endpoint) { return endpoint->Deliverable(); })) Wake();
}

void MemoryQueue::Wake() {
  if (awake_) return;
  const std::uint64_t one = 1;
  awake_ = ::write(event_fd_.get(), &one, sizeof(one)) == sizeof(one);
}

MemoryEndpoint::MemoryEndpoint(const Setup& setup, MemoryNetwork& network, MemoryQueue& queue, std::string peer_name)
    : CheckedEndpoint(setup), network_(network), memory_queue_(queue), peer_name_(std::move(peer_name)) {
  network_.endpoints_[id()] = this;
  memory_queue_.Add(this);
}

MemoryEndpoint::~MemoryEndpoint() {
  Close();
  if (peer_ != nullptr) peer_->peer_ = nullptr;
  memory_queue_.Remove(this);
  network_.endpoints_.erase(id());
}

void MemoryEndpoint::Send(Frame frame) {
  if (holding_) {
    kept_back_.push_back(std::move(frame));
    return;
  }
  if (peer_ == nullptr) return;
  if (network_.delay_) {
    frame.due_ns = network_.clock_.NowNs() + static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(network_.delay_(id())));
  }
  peer_->Arrive(std::move(frame));
}

void MemoryEndpoint::Arrive(Frame frame) {
  if (!inbox_.empty()) frame.due_ns = std::max(frame.due_ns, inbox_.back().due_ns);  // a later frame overtakes none
  inbox_.push_back(std::move(frame));
  memory_queue_.Arrived();
}

void MemoryEndpoint::Lost(absl::Status why) {
  inbox_.clear();
  lost_ = std::move(why);
  memory_queue_.Arrived();
}

void MemoryEndpoint::Cut() {
  MemoryEndpoint* peer = std::exchange(peer_, nullptr);
  kept_back_.clear();
  Lost(absl::UnavailableError(absl::StrCat("fabric: the connection with ", peer_name_, " was cut")));
  if (peer != nullptr) peer->Cut();
}

void MemoryEndpoint::Release(std::size_t frames) {
  holding_ = false;
  for (; frames > 0 && !kept_back_.empty(); --frames) {
    Send(std::move(kept_back_.front()));
    kept_back_.pop_front();
  }
  holding_ = !kept_back_.empty();
}

bool MemoryEndpoint::Deliverable() const {
  if (!lost_.ok()) return state() != EndpointState::kError;
  return !inbox_.empty() && inbox_.front().due_ns <= network_.clock_.NowNs();
}

void MemoryEndpoint::Step() {
  if (state() == EndpointState::kError) return;
  if (!lost_.ok()) return FailFor(lost_, OldestSend(Status::kRetryExceeded));
  while (Deliverable()) {
    Frame frame = std::move(inbox_.front());
    inbox_.pop_front();
    Deliver(frame);
    if (state() == EndpointState::kError) return;
  }
  if (state() == EndpointState::kConnecting && connect_deadline_ns_ != 0 && network_.clock_.NowNs() >= connect_deadline_ns_) {
    FailFor(absl::UnavailableError(absl::StrCat("fabric: ", peer_name_, " did not answer the connection in time")), std::nullopt);
  }
}

void MemoryEndpoint::StartRequests() {
  RequestRing& sends = ledger().sends();
  next_start_ = std::max(next_start_, sends.begin());
  for (; next_start_ != sends.end(); ++next_start_) {
    LedgerEntry& entry = sends.At(next_start_);
    if (entry.op == Op::kRevoke) continue;
    if (entry.fence && reads_in_flight_ > 0) return;
    const bool read = entry.op == Op::kRead;
    if (read) {
      if (reads_in_flight_ == caps().max_reads) return;
      ++reads_in_flight_;
    }
    Send(Frame{.kind = Frame::Kind::kRequest,
               .op = entry.op,
               .imm = entry.imm,
               .key = entry.key,
               .address = entry.remote_address,
               .bytes = entry.bytes,
               .token = LedgerToken(next_start_),
               .payload = read ? std::vector<std::byte>() : Gather(entry)});
  }
}

void MemoryEndpoint::Deliver(Frame& frame) {
  switch (frame.kind) {
    case Frame::Kind::kRequest: return DeliverRequest(frame);
    case Frame::Kind::kPlaced:
      Succeed(frame.token);
      return RetireDone();
    case Frame::Kind::kAnswer: return TakeAnswer(frame);
    case Frame::Kind::kAccepted: return BecomeReady(frame.payload);
    case Frame::Kind::kRefused:
      return FailFor(absl::UnavailableError(absl::StrCat("fabric: ", peer_name_, " refused a request: ", frame.why)),
                     Ledger::Cause{.token = frame.token, .status = frame.status});
    case Frame::Kind::kBye:
      return FailFor(absl::UnavailableError(absl::StrCat("fabric: ", peer_name_, " ", frame.why)),
                     OldestSend(Status::kRetryExceeded));
  }
}

void MemoryEndpoint::DeliverRequest(Frame& frame) {
  if (frame.op == Op::kRead) return AnswerRead(frame);
  if (frame.op != Op::kSend) {
    const auto size = static_cast<std::uint32_t>(frame.payload.size());
    const WindowTable::Target target = windows().Check(frame.key, frame.address, size, Access::kRemoteWrite);
    if (target.data == nullptr) return Refuse(frame, Status::kRemoteAccess, target.refusal);
    if (frame.op == Op::kWriteWithImm && ledger().receives().empty()) {
      return Refuse(frame, Status::kRnrExceeded, "no receive is posted");
    }
    if (size > 0) std::memcpy(target.data, frame.payload.data(), size);
    if (frame.op == Op::kWriteWithImm) CompleteReceive(Op::kReceiveImm, size, frame.imm);
  } else {
    if (ledger().receives().empty()) return Refuse(frame, Status::kRnrExceeded, "no receive is posted");
    PlaceMessage(frame);
  }
  if (state() == EndpointState::kReady) Send(Frame{.kind = Frame::Kind::kPlaced, .token = frame.token});
}

void MemoryEndpoint::PlaceMessage(const Frame& frame) {
  const std::uint64_t position = ledger().receives().begin();
  const LedgerEntry& receive = ledger().receives().At(position);
  if (frame.payload.size() > receive.bytes) {
    Send(Frame{.kind = Frame::Kind::kRefused, .token = frame.token, .status = Status::kRemoteOperation, .why = "message longer than the receive"});
    counters().violations.Add();
    return FailFor(absl::UnavailableError(absl::StrCat("fabric: ", peer_name_, " sent ", frame.payload.size(),
                                                       " bytes into a receive of ", receive.bytes)),
                   Ledger::Cause{.side = Ledger::Side::kReceive, .token = LedgerToken(position), .status = Status::kLocalLength});
  }
  Scatter(frame.payload, receive);
  CompleteReceive(Op::kReceive, static_cast<std::uint32_t>(frame.payload.size()), 0);
}

void MemoryEndpoint::AnswerRead(const Frame& frame) {
  const WindowTable::Target target = windows().Check(frame.key, frame.address, frame.bytes, Access::kRemoteRead);
  if (target.data == nullptr) return Refuse(frame, Status::kRemoteAccess, target.refusal);
  Send(Frame{.kind = Frame::Kind::kAnswer, .token = frame.token, .payload = {target.data, target.data + frame.bytes}});
}

void MemoryEndpoint::TakeAnswer(const Frame& frame) {
  const LedgerEntry* read = ledger().sends().Find(frame.token);
  if (read == nullptr) return counters().unknown.Add();
  Scatter(frame.payload, *read);
  --reads_in_flight_;
  Succeed(frame.token);
  RetireDone();
  StartRequests();
}

void MemoryEndpoint::Refuse(const Frame& frame, Status status, std::string_view why) {
  Send(Frame{.kind = Frame::Kind::kRefused, .token = frame.token, .status = status, .why = std::string(why)});
  counters().violations.Add();
  FailFor(absl::UnavailableError(absl::StrCat("fabric: ", peer_name_, " violated the connection: ", std::string(Name(frame.op)),
                                              " with key ", frame.key.value(), ": ", std::string(why))),
          std::nullopt);
}

void MemoryEndpoint::DoFail() {
  inbox_.clear();
  // Behind a refusal the peer has failed already and ignores this.
  Send(Frame{.kind = Frame::Kind::kBye, .why = "closed the connection"});
}

}  // namespace ashlar::fabric::memory
