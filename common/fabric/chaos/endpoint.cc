#include "common/fabric/chaos/endpoint.h"

#include <algorithm>
#include <cstring>

#include "common/base/status.h"

namespace ashlar::fabric::chaos {

ChaosEndpoint::ChaosEndpoint(std::unique_ptr<Endpoint> inner, ChaosQueue& queue, Domain& domain, FaultPlan& plan)
    : inner_(std::move(inner)), queue_(queue), plan_(plan), scratch_(kScratchBytes * kScratches) {
  if (auto region = domain.Register(scratch_); region.ok()) scratch_region_ = *std::move(region);
  queue_.Join(*this);
}

ChaosEndpoint::~ChaosEndpoint() {
  queue_.Leave(*this);
  inner_.reset();  // it names the scratch region
}

// What is held back counts as posted: its buffers are lent.
std::size_t ChaosEndpoint::outstanding() const {
  std::size_t held = 0;
  if (state() == EndpointState::kReady) {
    for (const Batch& batch : held_) held += batch.requests.size();
  }
  return inner_->outstanding() + held;
}

ChaosEndpoint::Batch ChaosEndpoint::Copy(std::span<const WorkRequest> batch) {
  Batch copy;
  for (const WorkRequest& request : batch) {
    copy.requests.push_back(request);
    copy.slices.emplace_back(request.local.begin(), request.local.end());
  }
  return copy;
}

std::span<const WorkRequest> ChaosEndpoint::Bind(Batch& batch) {
  for (std::size_t i = 0; i < batch.requests.size(); ++i) batch.requests[i].local = batch.slices[i];
  return batch.requests;
}

absl::Status ChaosEndpoint::Post(std::span<const WorkRequest> posted) {
  if (posted.empty() || state() != EndpointState::kReady) return inner_->Post(posted);
  if (plan_.Fires(FaultPoint::kPeerReset)) MakeFail(absl::UnavailableError("injected: peer.rst"));
  if (plan_.Fires(FaultPoint::kPeerBlackhole) || plan_.Fires(FaultPoint::kFatalWithoutCompletion)) FallSilent();
  if (state() != EndpointState::kReady) return inner_->Post(posted);
  if (plan_.Fires(FaultPoint::kPostAgain)) return absl::ResourceExhaustedError("injected: post.again");
  if (silent_ || plan_.Fires(FaultPoint::kPostDrop)) return absl::OkStatus();
  Batch batch = Copy(posted);
  if (plan_.Fires(FaultPoint::kFlipPayload)) FlipBit(batch);
  if (plan_.Fires(FaultPoint::kPostTruncate)) Truncate(batch);
  if (!held_.empty() || plan_.Fires(FaultPoint::kPostDelay)) {
    batch.due_poll = std::max(polls_ + 1 + plan_.Draw(64), held_.empty() ? 0 : held_.back().due_poll);
    held_.push_back(std::move(batch));
    return absl::OkStatus();
  }
  return Send(batch);
}

absl::Status ChaosEndpoint::Send(Batch& batch) {
  if (plan_.Fires(FaultPoint::kPostDuplicate)) return PostTwice(batch);
  return inner_->Post(Bind(batch));
}

absl::Status ChaosEndpoint::PostTwice(Batch& batch) {
  ASHLAR_RETURN_IF_ERROR(inner_->Post(Bind(batch)));
  for (WorkRequest& request : batch.requests) {
    request.wr_id = WrId(request.wr_id.value() | ChaosQueue::kOwnBit);
    request.signalled = false;
  }
  inner_->Post(Bind(batch)).IgnoreError();  // no room for the second: then it came once
  return absl::OkStatus();
}

// Of one request that sends: its first slice goes out from a damaged copy.
void ChaosEndpoint::FlipBit(Batch& batch) {
  if (scratch_region_ == nullptr || scratches_used_ == kScratches) return;
  const std::size_t which = plan_.Draw(batch.requests.size());
  if (batch.requests[which].op == Op::kRead || batch.slices[which].empty()) return;
  Slice& slice = batch.slices[which].front();
  if (slice.region == nullptr || slice.bytes == 0 || slice.bytes > kScratchBytes) return;
  const std::size_t at = scratches_used_++ * kScratchBytes;
  std::memcpy(scratch_.data() + at, slice.region->bytes().data() + slice.offset, slice.bytes);
  const std::uint64_t bit = plan_.Draw(std::uint64_t{8} * slice.bytes);
  scratch_[at + bit / 8] ^= static_cast<std::byte>(1u << (bit % 8));
  slice = {.region = scratch_region_.get(), .offset = at, .bytes = slice.bytes};
}

void ChaosEndpoint::Truncate(Batch& batch) {
  if (batch.requests.back().op == Op::kRead) return;  // a shorter READ would be the caller's own mistake
  for (auto slice = batch.slices.back().rbegin(); slice != batch.slices.back().rend(); ++slice) {
    if (slice->bytes == 0) continue;
    --slice->bytes;
    return;
  }
}

absl::StatusOr<RemoteWindow> ChaosEndpoint::Grant(Slice slice, Access access) {
  absl::StatusOr<RemoteWindow> window = inner_->Grant(slice, access);
  if (window.ok() && plan_.Fires(FaultPoint::kKeyRevoked)) inner_->Revoke(*window, WrId(ChaosQueue::kOwnBit)).IgnoreError();
  return window;
}

void ChaosEndpoint::OnPoll() {
  ++polls_;
  while (!held_.empty() && held_.front().due_poll <= polls_) {
    Batch batch = std::move(held_.front());
    held_.pop_front();
    if (state() != EndpointState::kReady) continue;
    if (absl::Status sent = Send(batch); !sent.ok()) MakeFail(sent);
  }
}

// What was held back never got out; like a batch dropped, nobody is told but by the end of the endpoint.
void ChaosEndpoint::Fail(absl::Status reason) {
  held_.clear();
  silent_ = false;
  inner_->Fail(std::move(reason));
}

void ChaosEndpoint::MakeFail(const absl::Status& reason) {
  made_to_fail_ = true;
  held_.clear();
  inner_->Fail(reason);
}

void ChaosEndpoint::FallSilent() {
  silent_ = true;
  held_.clear();
}

}  // namespace ashlar::fabric::chaos
