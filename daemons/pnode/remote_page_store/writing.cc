// How pages go: one call per batch, its extents mapped before it is sent.
#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "daemons/pnode/remote_page_store/remote_page_store.h"

namespace ashlar::pnode {
namespace wire = fit::wire;
using fit::Code;

absl::Status RemotePageStore::WriteBack(SpaceId id, std::span<const DirtyPage> pages) {
  RemoteSpace* space = FindSpace(id);
  ASHLAR_CHECK(space != nullptr && !space->ending, "write-back to space {}, which is not here", id.value());
  ASHLAR_CHECK(!pages.empty() && pages.size() <= kMaxWriteBackPages, "a write-back of {} pages", pages.size());
  if (!space->lost.ok()) return space->lost;
  if (BusyOf(space->home) >= (space->home != nullptr ? space->home->write_backs_allowed : options_.max_write_backs)) {
    write_backs_refused_.Add();
    return absl::ResourceExhaustedError("page store: enough write-backs are under way");
  }
  WriteBackOp& op = *std::find_if(write_backs_.begin(), write_backs_.end(),
                                  [](const WriteBackOp& one) { return one.state == WriteBackOp::State::kFree; });
  op.state = WriteBackOp::State::kWaiting;
  op.space = space;
  op.home = space->home;
  op.count = pages.size();
  op.slice_count = 0;
  op.ticket = ++last_ticket_;
  op.started_ns = Now();
  op.deadline_ns = op.started_ns + options_.write_back_timeout_ns;
  op.waits_for = absl::OkStatus();
  for (std::size_t i = 0; i < pages.size(); ++i) {
    const DirtyPage& page = pages[i];
    op.pages[i] = {page.page, page.version, page.crc32c, page.cookie, !page.bytes.empty(), absl::OkStatus(), AckLevel::kHome};
    if (page.bytes.empty()) {
      write_back_zero_pages_.Add();
      continue;
    }
    const fabric::Slice slice = SliceOf(page.bytes);
    fabric::Slice* last = op.slice_count > 0 ? &op.slices[op.slice_count - 1] : nullptr;
    if (last != nullptr && last->region == slice.region && last->offset + last->bytes == slice.offset) last->bytes += slice.bytes;
    else op.slices[op.slice_count++] = slice;
  }
  ++BusyOf(op.home);
  ++space->active;
  write_back_batches_.Add();
  TryStart(op);
  return absl::OkStatus();
}

// True if every page has an extent at the home; else they were asked for.
bool RemotePageStore::MapForWriteBack(WriteBackOp& op) {
  bool all = op.space->created();
  for (std::size_t i = 0; i < op.count; ++i) {
    const RemoteExtent* extent = op.space->Find(op.pages[i].page);
    const std::uint64_t number = ExtentOf(op.pages[i].page);
    const bool mapped = extent != nullptr && extent->mapped;
    if (mapped && !extent->unmapping && !op.space->make_wanted.contains(number)) continue;
    all = false;
    if (!mapped) op.space->make_wanted.insert(number);
  }
  return all;
}

void RemotePageStore::TryStart(WriteBackOp& op) {
  const std::uint64_t now = Now();
  if (now >= op.deadline_ns) {
    return FailWriteBack(op, !op.waits_for.ok() ? op.waits_for : absl::UnavailableError(absl::StrCat(
        op.home != nullptr ? absl::StrCat("memory node ", op.home->name(), " did not answer in time")
                           : NoHomeWords())));
  }
  if (op.home != op.space->home) {  // chosen, or left, since it was taken
    --BusyOf(op.home);
    op.home = op.space->home;
    ++BusyOf(op.home);
  }
  if (op.home == nullptr) return ArmTick();
  if (!MapForWriteBack(op)) return ArmTick(), PumpMap(*op.space);
  if (now < op.home->write_back_not_before_ns) return ArmTick();

  std::array<std::byte, sizeof(wire::SpaceList) + wire::kMaxPagesPerCall * sizeof(wire::PageDirty)> payload;
  const wire::SpaceList head{.space = op.space->id.value(), .epoch = op.space->epoch.value(), .view = 0,
                             .count = static_cast<std::uint32_t>(op.count), .flags = static_cast<std::uint32_t>(options_.level)};
  std::memcpy(payload.data(), &head, sizeof(head));
  std::uint32_t bulk = 0;
  for (std::size_t i = 0; i < op.count; ++i) {
    const WriteBackOp::Page& page = op.pages[i];
    const wire::PageDirty dirty{page.page.value(), page.version.value(), page.crc32c, page.has_bytes ? bulk++ : wire::kNoBulk};
    std::memcpy(payload.data() + sizeof(head) + i * sizeof(dirty), &dirty, sizeof(dirty));
  }
  const std::size_t bytes = sizeof(head) + op.count * sizeof(wire::PageDirty);
  const absl::Status started = op.home->connection->Start(wire::Opcode::kWriteBack, std::span(payload).first(bytes),
                                                  std::span(op.slices).first(op.slice_count), {op.deadline_ns}, op);
  if (!started.ok()) return ArmTick();
  op.state = WriteBackOp::State::kSent;
  op.epoch = op.space->epoch;
  for (std::size_t i = 0; i < op.count; ++i) {
    RemoteExtent& extent = *op.space->Find(op.pages[i].page);
    ++extent.users;
    extent.maybe_there.set(op.pages[i].page.value() % kExtentPages);
  }
}

void RemotePageStore::WriteBackDone(WriteBackOp& op, const fit::CallResult& result) {
  write_back_ns_.Add(Now() - op.started_ns);
  if (result.hints.write_batches != 0) {
    op.home->write_backs_allowed = std::min<std::uint32_t>(result.hints.write_batches, options_.max_write_backs);
    op.home->write_batches_allowed.Set(op.home->write_backs_allowed);
  }
  if (result.status.ok()) return TakeResults(op, result);
  absl::Status why = result.status;
  switch (result.code) {
    case Code::kStaleEpoch:
    case Code::kNotFound:
      if (op.space->home == op.home) LostBy(*op.space, result.code);
      if (!op.space->lost.ok()) why = op.space->lost;
      else why = absl::UnavailableError(absl::StrCat("memory node ", op.home->name(), " is not the home of this program's memory any more"));
      break;
    case Code::kExhausted:
    case Code::kUnavailable:
      op.home->write_back_not_before_ns = Now() + std::uint64_t{result.hints.retry_after_ms} * 1'000'000;
      if (result.hints.degraded) why = absl::UnavailableError(OutOfReachWords(*op.home));
      break;
    case Code::kMalformed:  // an extent that we think is there is not
      why = absl::UnavailableError(absl::StrCat("memory node ", op.home->name(), " refused a write-back as malformed"));
      for (std::size_t i = 0; i < op.count; ++i) op.space->make_wanted.insert(ExtentOf(op.pages[i].page));
      if (trouble_log_.Allow(Now()))
        log::Error("page store: write-back refused as malformed, a bug here or there home={} space={} left_out={}", op.home->name(),
                   op.space->id.value(), trouble_log_.TakeLeftOut());
      break;
    default:
      break;
  }
  if (op.epoch != op.space->epoch && op.space->lost.ok())
    why = absl::UnavailableError(absl::StrCat("memory node ", op.home->name(), " was left"));
  for (std::size_t i = 0; i < op.count; ++i) op.pages[i].status = why;
}

std::string RemotePageStore::OutOfReachWords(const HomeLink& home) const {
  return absl::StrCat("memory node ", home.name(), " does not reach a storage node (",
                      absl::StrJoin(storages_, ", ", [](std::string* out, const StorageLink& storage) { absl::StrAppend(out, storage.name); }),
                      "), so dirty pages can't be made safe");
}

std::string RemotePageStore::NoHomeWords() const {
  return absl::StrCat("no memory node (", absl::StrJoin(homes_, ", ", [](std::string* out, const HomeLink& home) { absl::StrAppend(out, home.name()); }),
                      ") is in reach that could serve this program's memory");
}

// One result per page: a batch can succeed in part, and only what is named is acknowledged.
void RemotePageStore::TakeResults(WriteBackOp& op, const fit::CallResult& result) {
  wire::ListReply head{};
  if (result.payload.size() >= sizeof(head)) std::memcpy(&head, result.payload.data(), sizeof(head));
  const bool whole = head.count == op.count && result.payload.size() >= sizeof(head) + op.count * sizeof(wire::PageResult);
  for (std::size_t i = 0; i < op.count; ++i) {
    WriteBackOp::Page& page = op.pages[i];
    page.status = absl::UnavailableError("the memory node's answer does not fit the question");
    if (!whole) continue;
    wire::PageResult answer;
    std::memcpy(&answer, result.payload.data() + sizeof(head) + i * sizeof(answer), sizeof(answer));
    if (answer.page != page.page.value()) continue;
    switch (answer.code <= UINT16_MAX ? static_cast<Code>(answer.code) : Code::kUnavailable) {
      case Code::kOk:
      case Code::kAlready:
      case Code::kSuperseded:
        page.status = absl::OkStatus();
        page.level = static_cast<AckLevel>(std::min(answer.level, static_cast<std::uint32_t>(AckLevel::kDisk)));
        write_back_pages_.Add();
        break;
      case Code::kDataLoss:
        if (answer.stored_version == page.version.value()) {
          page.status = absl::DataLossError(absl::StrCat("memory node ", op.home->name(), " has other bytes under version ",
                                                         answer.stored_version, " of page ", answer.page));
        } else {
          damaged_on_the_way_.Add();
          page.status = absl::UnavailableError("the page was damaged on the way; it is sent again");
        }
        break;
      case Code::kExhausted:
        page.status = absl::ResourceExhaustedError("the storage node is full for now");
        break;
      default:
        page.status = absl::UnavailableError(result.hints.degraded ? OutOfReachWords(*op.home) : "the memory node could not make the page safe yet");
    }
  }
}

// The bytes are the caller's again.
void RemotePageStore::FinishWriteBack(WriteBackOp& op) {
  RemoteSpace& space = *op.space;
  const bool sent = op.state == WriteBackOp::State::kSent;
  for (std::size_t i = 0; i < op.count; ++i) {
    WriteBackOp::Page& page = op.pages[i];
    if (RemoteExtent* extent = sent ? space.Find(page.page) : nullptr; extent != nullptr) {
      if (extent->users > 0) --extent->users;
      // Acknowledged by a home that was left before its answer could be taken: to be sent again, to the next one.
      if (page.status.ok() && op.epoch != space.epoch) page.status = absl::UnavailableError("its memory node was left");
      if (page.status.ok()) extent->Acknowledge(page.page.value() % kExtentPages, page.version);
    }
    absl::Status status = std::move(page.status);
    if (space.ending && !status.ok()) status = absl::CancelledError("the space ended");
    if (!status.ok()) write_back_failures_.Add();
    finished_.push_back({Event::Kind::kWrittenBack, page.level, page.cookie, std::move(status)});
  }
  op.state = WriteBackOp::State::kFree;
  op.space = nullptr;
  --BusyOf(op.home);
  Leave(space);
}

void RemotePageStore::FailWriteBack(WriteBackOp& op, const absl::Status& status) {
  for (std::size_t i = 0; i < op.count; ++i) op.pages[i].status = status;
  FinishWriteBack(op);
}

void RemotePageStore::RetryWriteBacks() {
  for (WriteBackOp& op : write_backs_)
    if (op.state == WriteBackOp::State::kWaiting) TryStart(op);
}

std::uint64_t RemotePageStore::OldestTicket(const RemoteSpace& space) const {
  std::uint64_t oldest = UINT64_MAX;
  for (const WriteBackOp& op : write_backs_)
    if (op.state != WriteBackOp::State::kFree && op.space == &space) oldest = std::min(oldest, op.ticket);
  return oldest;
}

}  // namespace ashlar::pnode
