#include "common/fabric/ledger.h"

#include "common/base/check.h"

namespace ashlar::fabric {

LedgerEntry* RequestRing::Find(LedgerToken token) {
  if (token.value() < begin_ || token.value() >= end_) return nullptr;
  return &At(token.value());
}

LedgerEntry& RequestRing::Add() {
  ASHLAR_CHECK(room() > 0, "the caller looks first; capacity={}", capacity());
  LedgerEntry& entry = At(end_++);
  entry.done = false;
  entry.wire_mark = 0;
  entry.slice_count = 0;
  return entry;
}

void RequestRing::RetireOldest(bool reported) {
  LedgerEntry& entry = At(begin_);
  for (const LocalBytes& slice : entry.local()) slice.region->Unpin();
  entry.slice_count = 0;
  ++begin_;
  if (reported) ++unpolled_;
}

Ledger::~Ledger() {
  ASHLAR_CHECK(sends_.empty() && receives_.empty(), "an endpoint ended with requests that were never reported");
}

bool Ledger::Succeed(LedgerToken token) {
  LedgerEntry* entry = sends_.Find(token);
  if (entry == nullptr) return false;
  entry->done = true;
  // A transport that reports only signalled requests says by one success that the silent ones before it are done.
  for (std::uint64_t position = token.value(); position > sends_.begin(); --position) {
    LedgerEntry& earlier = sends_.At(position - 1);
    if (earlier.done || earlier.signalled || earlier.op == Op::kRead || earlier.op == Op::kRevoke) break;
    earlier.done = true;
  }
  return true;
}

void Ledger::RetireDone(absl::FunctionRef<bool(RemoteKey)> revoked, Sink sink) {
  while (!sends_.empty()) {
    LedgerEntry& oldest = sends_.At(sends_.begin());
    if (!oldest.done && !(oldest.op == Op::kRevoke && revoked(oldest.key))) return;
    const bool reported = oldest.signalled;
    const Succeeded success{.wr_id = oldest.wr_id, .endpoint = endpoint_, .op = oldest.op};
    sends_.RetireOldest(reported);
    if (reported) sink(success, Side::kSend);
  }
}

void Ledger::SucceedReceive(Op op, std::uint32_t byte_len, std::uint32_t imm, Sink sink) {
  ASHLAR_CHECK(!receives_.empty(), "a receive completed that was never posted");
  const WrId wr_id = receives_.At(receives_.begin()).wr_id;
  receives_.RetireOldest(/*reported=*/true);
  sink(Succeeded{.wr_id = wr_id, .endpoint = endpoint_, .op = op, .byte_len = byte_len, .imm = imm}, Side::kReceive);
}

void Ledger::FailAll(const std::optional<Cause>& cause, Sink sink) {
  const LedgerEntry* culprit = nullptr;
  if (cause.has_value()) {
    culprit = (cause->side == Side::kSend ? sends_ : receives_).Find(cause->token);
    if (culprit != nullptr) {
      sink(Failed{.wr_id = culprit->wr_id, .endpoint = endpoint_, .status = cause->status, .vendor = cause->vendor},
           cause->side);
    }
  }
  for (const Side side : {Side::kSend, Side::kReceive}) {
    RequestRing& ring = side == Side::kSend ? sends_ : receives_;
    while (!ring.empty()) {
      const LedgerEntry& oldest = ring.At(ring.begin());
      const bool was_reported = &oldest == culprit;
      const Failed flushed{.wr_id = oldest.wr_id, .endpoint = endpoint_, .status = Status::kFlushed};
      ring.RetireOldest(/*reported=*/true);
      if (!was_reported) sink(flushed, side);
    }
  }
}

}  // namespace ashlar::fabric
