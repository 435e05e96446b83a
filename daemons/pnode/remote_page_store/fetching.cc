// How pages come: batches of one-sided reads, or FetchPages where there is no window.
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "daemons/pnode/remote_page_store/remote_page_store.h"

namespace ashlar::pnode {
namespace wire = fit::wire;

void RemotePageStore::Fetch(std::span<const FetchRequest> requests) {
  for (const FetchRequest& request : requests) {
    RemoteSpace* space = FindSpace(request.space);
    ASHLAR_CHECK(space != nullptr && !space->ending, "fetch from space {}, which is not here", request.space.value());
    ASHLAR_CHECK(request.into.size() == kPageBytes, "a fetch of {} bytes", request.into.size());
    FetchOp* op = fetch_ops_.Take();
    *op = {request, SliceOf(request.into), space, Now() + options_.fetch_timeout_ns};
    ++space->active;
    Dispatch(op);
  }
  SendGathered();
}

// Sends the op, ends it, or lets it wait for what it needs.
void RemotePageStore::Dispatch(FetchOp* op) {
  RemoteSpace& space = *op->space;
  if (space.ending) return FinishFetch(op, absl::CancelledError("the space ended"));
  if (!space.lost.ok()) return FinishFetch(op, space.lost);
  if (Now() >= op->deadline_ns) {
    return FinishFetch(op, absl::UnavailableError(space.home != nullptr
        ? absl::StrCat("memory node ", space.home->name(), " did not answer in time") : NoHomeWords()));
  }
  RemoteExtent* extent = space.Find(op->request.page);
  if (space.rehome != RehomeState::kServed && (extent == nullptr || extent->refill != nullptr)) return DispatchToStorage(op);
  const std::uint64_t epoch = space.home != nullptr ? space.home->connection->connection_epoch() : 0;
  const bool usable = extent != nullptr && extent->mapped && !extent->unmapping && space.home != nullptr && space.home->up() &&
                      epoch != 0 && extent->window_epoch == epoch;
  if (usable) return Gather(op, space.home, nullptr, extent->window.key == fabric::RemoteKey(0));
  space.window_wanted.insert(ExtentOf(op->request.page));
  Wait(op);
  PumpMap(space);
}

void RemotePageStore::Wait(FetchOp* op) {
  waiting_.push_back(op);
  ArmTick();
}

void RemotePageStore::Gather(FetchOp* op, HomeLink* home, StorageLink* storage, bool by_message) {
  // Messages are of one space; a read batch may mix those of one home.
  if (gathering_ != nullptr && (gathering_->home != home || gathering_->storage != storage || gathering_->by_message != by_message ||
                                gathering_->count == kReadPages || (by_message && gathering_->ops[0]->space != op->space)))
    SendGathered();
  if (gathering_ == nullptr) {
    gathering_ = read_calls_.Take();
    gathering_->store = this;
    gathering_->home = home;
    gathering_->storage = storage;
    gathering_->by_message = by_message;
    gathering_->count = 0;
    gathering_->again = gathering_->answered = false;
  }
  if (RemoteExtent* extent = op->space->Find(op->request.page)) ++extent->users;
  gathering_->ops[gathering_->count++] = op;
}

void RemotePageStore::SendGathered() {
  ReadCall* call = std::exchange(gathering_, nullptr);
  if (call == nullptr) return;
  call->started_ns = Now();
  call->busy = true;
  if (call->storage != nullptr ? SendRecoverRead(*call) : call->by_message ? SendFetchPages(*call) : SendRead(*call)) return;
  call->busy = false;
  for (std::size_t i = 0; i < call->count; ++i) {  // no room, or the link went: at the next event or tick
    if (RemoteExtent* extent = call->ops[i]->space->Find(call->ops[i]->request.page); extent != nullptr && extent->users > 0) --extent->users;
    waiting_.push_back(call->ops[i]);
  }
  read_calls_.Give(call);
  ArmTick();
}

bool RemotePageStore::SendRead(ReadCall& call) {
  std::array<fit::RemoteCopy, kReadPages> pieces;
  fit::Deadline deadline{UINT64_MAX};
  for (std::size_t i = 0; i < call.count; ++i) {
    const FetchOp& op = *call.ops[i];
    pieces[i] = {op.space->Find(op.request.page)->window, OffsetInExtent(op.request.page), op.target};
    deadline.at_ns = std::min(deadline.at_ns, op.deadline_ns);
  }
  return call.home->connection->Read(std::span(pieces).first(call.count), deadline, call).ok();
}

bool RemotePageStore::SendFetchPages(ReadCall& call) {
  std::array<std::byte, sizeof(wire::SpaceList) + kReadPages * sizeof(wire::PageWant)> payload;
  const RemoteSpace& space = *call.ops[0]->space;
  const wire::SpaceList head{.space = space.id.value(), .epoch = space.epoch.value(), .view = 0,
                             .count = static_cast<std::uint32_t>(call.count), .flags = 0};
  std::memcpy(payload.data(), &head, sizeof(head));
  fit::Deadline deadline{UINT64_MAX};
  for (std::size_t i = 0; i < call.count; ++i) {
    const FetchOp& op = *call.ops[i];
    const wire::PageWant want{op.request.page.value(), op.request.version.value()};
    std::memcpy(payload.data() + sizeof(head) + i * sizeof(want), &want, sizeof(want));
    deadline.at_ns = std::min(deadline.at_ns, op.deadline_ns);
  }
  const std::size_t bytes = sizeof(head) + call.count * sizeof(wire::PageWant);
  return call.home->connection->Start(wire::Opcode::kFetchPages, std::span(payload).first(bytes), {}, deadline, call).ok();
}

void RemotePageStore::ReadDone(ReadCall& call, const fit::CallResult& result) {
  if (call.storage != nullptr) return RecoverReadDone(call, result);
  fetch_wire_ns_.Add(Now() - call.started_ns);
  const absl::Status wire_lost = absl::UnavailableError("");
  for (std::size_t i = 0; i < call.count; ++i) call.results[i] = result.status.ok() ? absl::OkStatus() : wire_lost;
  call.again = !result.status.ok();
  if (!call.by_message) {
    if (result.status.ok()) fetch_pages_read_.Add(call.count);
    return;
  }
  if (result.status.ok()) TakeFetchedPages(call, result);
  else if (call.ops[0]->space->home == call.home) LostBy(*call.ops[0]->space, result.code);
}

// The reply of FetchPages: every page is checked against what was asked for, and against its checksum where it now lies.
void RemotePageStore::TakeFetchedPages(ReadCall& call, const fit::CallResult& result) {
  wire::ListReply head{};
  if (result.payload.size() >= sizeof(head)) std::memcpy(&head, result.payload.data(), sizeof(head));
  const bool whole = head.count == call.count && result.payload.size() >= sizeof(head) + call.count * sizeof(wire::PageHave);
  for (std::size_t i = 0; i < call.count; ++i) {
    const FetchRequest& request = call.ops[i]->request;
    call.results[i] = absl::UnavailableError("the memory node's answer does not fit the question");
    if (!whole) continue;
    wire::PageHave have;
    std::memcpy(&have, result.payload.data() + sizeof(head) + i * sizeof(have), sizeof(have));
    const bool zero = have.bulk_index == wire::kNoBulk;
    if (have.page != request.page.value() || (!zero && have.bulk_index >= result.bulk.size() / kPageBytes)) continue;
    if (have.code != static_cast<std::uint32_t>(fit::Code::kOk) || have.version != request.version.value()) {
      call.results[i] = absl::DataLossError(absl::StrCat("memory node ", call.home->name(), " has version ", have.version, " of page ",
                                                         have.page, ", acknowledged was ", request.version.value()));
      continue;
    }
    if (zero) std::memset(request.into.data(), 0, kPageBytes);
    else std::memcpy(request.into.data(), result.bulk.data() + have.bulk_index * kPageBytes, kPageBytes);
    const std::span<const std::byte> checked = zero ? std::span<const std::byte>() : request.into;
    if (PageCrc32c(SpaceId(have.origin), request.page, request.version, checked) != have.crc32c) {
      damaged_on_the_way_.Add();
      call.results[i] = absl::UnavailableError("the page's checksum does not fit; asked again");
      continue;
    }
    call.results[i] = absl::OkStatus();
    fetch_pages_by_message_.Add();
  }
}

// The targets are ours again: give them back, or read into them once more.
void RemotePageStore::ReadReleased(ReadCall& call) {
  for (std::size_t i = 0; i < call.count; ++i) {
    FetchOp* op = call.ops[i];
    if (RemoteExtent* extent = op->space->Find(op->request.page); extent != nullptr && extent->users > 0) --extent->users;
    absl::Status status = std::exchange(call.results[i], absl::OkStatus());
    if (!op->space->lost.ok() && !status.ok()) status = op->space->lost;
    const bool repeat = call.again && !status.ok() && op->space->lost.ok() && !op->space->ending && Now() < op->deadline_ns;
    if (!repeat) {
      FinishFetch(op, std::move(status));
      continue;
    }
    fetch_retries_.Add();
    waiting_.push_back(op);
    ArmTick();
  }
  call.busy = false;
  read_calls_.Give(&call);
  const bool answered = !call.again || (call.storage != nullptr && call.answered);
  if (answered && !waiting_.empty()) RetryFetches();  // there is room; after a failure the link or the tick says when
}

void RemotePageStore::FinishFetch(FetchOp* op, absl::Status status) {
  RemoteSpace& space = *op->space;
  if (space.ending) status = absl::CancelledError("the space ended");
  if (!status.ok()) {
    fetch_failures_.Add();
    if (status.message().empty())
      status = absl::UnavailableError(absl::StrCat("memory node ", space.home != nullptr ? space.home->name() : "?", " could not be read in time"));
  }
  finished_.push_back({Event::Kind::kFetched, AckLevel::kHome, op->request.cookie, std::move(status)});
  fetch_ops_.Give(op);
  Leave(space);
}

// Looks once at each fetch that waits.
void RemotePageStore::RetryFetches() {
  for (std::size_t n = waiting_.size(); n > 0 && !waiting_.empty(); --n) {
    FetchOp* op = waiting_.front();
    waiting_.pop_front();
    Dispatch(op);
  }
  SendGathered();
}

}  // namespace ashlar::pnode
