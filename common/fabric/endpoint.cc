#include "common/fabric/endpoint.h"

#include <atomic>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/fabric/names.h"

namespace ashlar::fabric {
namespace {

EndpointId NextEndpointId() {
  static std::atomic<std::uint64_t> last{0};
  return EndpointId(last.fetch_add(1, std::memory_order_relaxed) + 1);
}

bool NamesWindow(Op op) { return op == Op::kWrite || op == Op::kWriteWithImm || op == Op::kRead; }

}  // namespace

absl::Status CheckedEndpoint::CheckSetup(const Setup& setup, std::span<const std::byte> hello) {
  if (setup.options.send_depth == 0 || setup.options.receive_depth == 0) {
    return absl::InvalidArgumentError("fabric: send_depth and receive_depth must be at least 1");
  }
  if (setup.options.max_windows > WindowTable::kMaxWindows) {
    return absl::InvalidArgumentError(absl::StrCat("fabric: max_windows is ", setup.options.max_windows, ", at most ",
                                                   WindowTable::kMaxWindows, " fit into a key"));
  }
  if (hello.size() > kMaxHelloBytes) {
    return absl::InvalidArgumentError(absl::StrCat("fabric: a hello of ", hello.size(), " bytes, at most ", kMaxHelloBytes, " fit"));
  }
  return setup.queue->CheckRoom(setup.options.send_depth + setup.options.receive_depth);
}

CheckedEndpoint::CheckedEndpoint(const Setup& setup)
    : id_(NextEndpointId()),
      caps_(*setup.caps),
      domain_(setup.domain),
      queue_(*setup.queue),
      counters_(setup.counters != nullptr ? *setup.counters : setup.queue->counters()),
      options_(setup.options),
      windows_(setup.options.max_windows, setup.window_base),
      ledger_(id_, setup.options.send_depth, setup.options.receive_depth) {
  queue_.Join(options_.send_depth + options_.receive_depth);
  counters().endpoints[static_cast<std::size_t>(state_)].Add();
}

CheckedEndpoint::~CheckedEndpoint() { ASHLAR_CHECK(closed_, "the backend's destructor must call Close()"); }

absl::Status CheckedEndpoint::CheckState(bool connecting_too) const {
  switch (state_) {
    case EndpointState::kReady: return absl::OkStatus();
    case EndpointState::kConnecting:
      if (connecting_too) return absl::OkStatus();
      return absl::FailedPreconditionError("fabric: not connected yet; post after kReady");
    case EndpointState::kError:
    case EndpointState::kDraining:
    case EndpointState::kDead: break;
  }
  return absl::UnavailableError(absl::StrCat("fabric: endpoint failed: ", reason_.message()));
}

absl::Status CheckedEndpoint::CheckSlices(const WorkRequest& request, std::uint64_t* bytes) const {
  if (request.local.size() > caps_.max_slices) {
    return absl::InvalidArgumentError(
        absl::StrCat("fabric: request with ", request.local.size(), " slices, at most ", caps_.max_slices));
  }
  *bytes = 0;
  for (const Slice& slice : request.local) {
    // A Region is made by a Domain only, and those of these backends make CountedRegions.
    const auto* region = static_cast<const CountedRegion*>(slice.region);
    if (region == nullptr || region->domain() != domain_) {
      return absl::InvalidArgumentError("fabric: slice without a region of this endpoint's domain");
    }
    const std::uint64_t size = region->bytes().size();
    if (slice.offset > size || slice.bytes > size - slice.offset) {
      return absl::OutOfRangeError(absl::StrCat("fabric: slice at ", slice.offset, " of ", slice.bytes,
                                                " bytes lies outside its region of ", size));
    }
    *bytes += slice.bytes;
  }
  if (*bytes > caps_.max_message) {
    return absl::InvalidArgumentError(absl::StrCat("fabric: message of ", *bytes, " bytes, at most ", caps_.max_message));
  }
  return absl::OkStatus();
}

absl::Status CheckedEndpoint::CheckRequest(const WorkRequest& request) const {
  if (request.op != Op::kSend && !NamesWindow(request.op)) {
    return absl::InvalidArgumentError(absl::StrCat("fabric: ", std::string(Name(request.op)), " can't be posted"));
  }
  std::uint64_t bytes = 0;
  ASHLAR_RETURN_IF_ERROR(CheckSlices(request, &bytes));
  if (!NamesWindow(request.op)) return absl::OkStatus();
  const RemoteWindow& window = request.window;
  if (request.offset > window.bytes || bytes > window.bytes - request.offset || window.base + request.offset < window.base) {
    return absl::OutOfRangeError(absl::StrCat("fabric: ", std::string(Name(request.op)), " of ", bytes, " bytes at ", request.offset,
                                              " lies outside the window of ", window.bytes));
  }
  return absl::OkStatus();
}

void CheckedEndpoint::Record(RequestRing& ring, const WorkRequest& request, Op op, bool signalled) {
  LedgerEntry& entry = ring.Add();
  entry.wr_id = request.wr_id;
  entry.op = op;
  entry.signalled = signalled;
  entry.solicited = request.solicited;
  entry.fence = request.fence;
  entry.imm = request.imm;
  entry.key = request.window.key;
  entry.remote_address = request.window.base + request.offset;
  entry.bytes = 0;
  for (const Slice& slice : request.local) {
    auto* region = static_cast<CountedRegion*>(slice.region);
    region->Pin();
    entry.slices[entry.slice_count++] = {.region = region, .data = region->bytes().data() + slice.offset, .bytes = slice.bytes};
    entry.bytes += slice.bytes;
  }
  counters().requests[static_cast<std::size_t>(op)].Add();
  counters().outstanding.Add();
}

absl::Status CheckedEndpoint::Post(std::span<const WorkRequest> batch) {
  ASHLAR_RETURN_IF_ERROR(CheckState(/*connecting_too=*/false));
  for (const WorkRequest& request : batch) ASHLAR_RETURN_IF_ERROR(CheckRequest(request));
  if (batch.size() > ledger_.sends().room()) {
    return absl::ResourceExhaustedError(absl::StrCat("fabric: batch of ", batch.size(), ", room for ", ledger_.sends().room(),
                                                     " of ", options_.send_depth, "; poll completions first"));
  }
  for (const WorkRequest& request : batch) Record(ledger_.sends(), request, request.op, request.signalled);
  if (!batch.empty()) DoPost();
  return absl::OkStatus();
}

absl::Status CheckedEndpoint::Receive(std::span<const WorkRequest> buffers) {
  ASHLAR_RETURN_IF_ERROR(CheckState(/*connecting_too=*/true));
  for (const WorkRequest& request : buffers) {
    std::uint64_t bytes = 0;
    ASHLAR_RETURN_IF_ERROR(CheckSlices(request, &bytes));
    if (bytes < kMinReceiveBytes) {
      return absl::InvalidArgumentError(absl::StrCat("fabric: receive of ", bytes, " bytes, at least ", kMinReceiveBytes));
    }
  }
  if (buffers.size() > ledger_.receives().room()) {
    return absl::ResourceExhaustedError(absl::StrCat("fabric: ", buffers.size(), " receives, room for ", ledger_.receives().room(),
                                                     " of ", options_.receive_depth));
  }
  for (const WorkRequest& request : buffers) Record(ledger_.receives(), request, Op::kReceive, /*signalled=*/true);
  if (!buffers.empty()) DoReceive();
  return absl::OkStatus();
}

absl::StatusOr<RemoteWindow> CheckedEndpoint::Grant(Slice slice, Access access) {
  ASHLAR_RETURN_IF_ERROR(CheckState(/*connecting_too=*/true));
  auto* region = static_cast<CountedRegion*>(slice.region);
  if (region == nullptr || region->domain() != domain_) {
    return absl::InvalidArgumentError("fabric: grant without a region of this endpoint's domain");
  }
  const std::uint64_t size = region->bytes().size();
  if (slice.offset > size || slice.bytes > size - slice.offset) {
    return absl::OutOfRangeError(absl::StrCat("fabric: grant at ", slice.offset, " of ", slice.bytes,
                                              " bytes lies outside its region of ", size));
  }
  return DoGrant(*region, slice.offset, slice.bytes, access);
}

absl::Status CheckedEndpoint::Revoke(RemoteWindow window, WrId wr_id) {
  ASHLAR_RETURN_IF_ERROR(CheckState(/*connecting_too=*/true));
  if (ledger_.sends().room() == 0) {
    return absl::ResourceExhaustedError("fabric: no room for a revocation; poll completions first");
  }
  if (!DoRevoke(window)) {
    return absl::NotFoundError(absl::StrCat("fabric: key ", window.key.value(), " is no window of this endpoint"));
  }
  Record(ledger_.sends(), WorkRequest{.wr_id = wr_id, .window = window}, Op::kRevoke, /*signalled=*/true);
  DoPost();
  RetireDone();
  return absl::OkStatus();
}

void CheckedEndpoint::Polled(Ledger::Side side) {
  ledger_.Polled(side);
  counters().outstanding.Sub();
}

void CheckedEndpoint::BecomeReady(std::span<const std::byte> peer_hello) {
  if (state_ != EndpointState::kConnecting) return;
  peer_hello_.assign(peer_hello.begin(), peer_hello.end());
  SetState(EndpointState::kReady);
}

void CheckedEndpoint::Succeed(LedgerToken token) {
  if (!ledger_.Succeed(token)) counters().unknown.Add();
}

void CheckedEndpoint::RetireDone() {
  const std::size_t before = ledger_.outstanding();
  ledger_.RetireDone([this](RemoteKey key) { return !InUse(key); },
                     [this](const Completion& completion, Ledger::Side side) { queue_.Deliver(completion, *this, side); });
  counters().outstanding.Sub(before - ledger_.outstanding());  // the silent ones
}

void CheckedEndpoint::CompleteReceive(Op op, std::uint32_t byte_len, std::uint32_t imm) {
  ledger_.SucceedReceive(op, byte_len, imm,
                         [this](const Completion& completion, Ledger::Side side) { queue_.Deliver(completion, *this, side); });
}

std::optional<Ledger::Cause> CheckedEndpoint::OldestSend(Status status) {
  if (ledger_.sends().empty()) return std::nullopt;
  return Ledger::Cause{.token = LedgerToken(ledger_.sends().begin()), .status = status};
}

void CheckedEndpoint::FailFor(absl::Status reason, std::optional<Ledger::Cause> cause) {
  if (state_ == EndpointState::kError || closed_) return;
  reason_ = reason.ok() ? absl::CancelledError("fabric: failed without a reason") : std::move(reason);
  SetState(EndpointState::kError);
  DoFail();
  ledger_.FailAll(cause,
                  [this](const Completion& completion, Ledger::Side side) { queue_.Deliver(completion, *this, side); });
}

void CheckedEndpoint::Close() {
  FailFor(absl::CancelledError("fabric: endpoint destroyed"), std::nullopt);
  windows_.ReleaseAll();
  counters().endpoints[static_cast<std::size_t>(state_)].Sub();
  counters().outstanding.Sub(ledger_.outstanding());
  queue_.Leave(*this, options_.send_depth + options_.receive_depth);
  closed_ = true;
}

void CheckedEndpoint::SetState(EndpointState state) {
  counters().endpoints[static_cast<std::size_t>(state_)].Sub();
  state_ = state;
  counters().endpoints[static_cast<std::size_t>(state_)].Add();
}

}  // namespace ashlar::fabric
