// Requests that bring or drop pages: write-backs, taken in and answered when they are safe; trims.
#include "daemons/mnode/memory_service.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/status.h"
#include "common/fit/message.h"

namespace ashlar::mnode {
namespace wire = fit::wire;
using fit::Code;
using fit::MessageWriter;
using fit::ReadMessage;
namespace {
constexpr std::uint32_t kLevelHome = 0, kLevelDisk = 2;
}  // namespace

void MemoryService::WriteBack(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = ReadMessage<wire::SpaceList, wire::PageDirty>(request.payload, wire::kMaxPagesPerCall);
  if (!message || message->head.count == 0 || request.bulk.size() % kPageBytes != 0 || (message->head.flags & 0xFF) > 2)
    return Reject(reply);
  Space* space = Admit(request, SpaceId(message->head.space), Epoch(message->head.epoch), reply);
  if (space == nullptr) return;
  const std::size_t bulk_pages = request.bulk.size() / kPageBytes;
  for (std::uint32_t i = 0; i < message->head.count; ++i) {  // the whole call is right, or nothing is touched
    const wire::PageDirty dirty = message->item(i);
    if (dirty.version == 0 || dirty.version > kMaxVersion || (dirty.bulk_index != wire::kNoBulk && dirty.bulk_index >= bulk_pages) ||
        space->Find(PageNumber(dirty.page)) == nullptr)
      return Reject(reply);
  }
  Batch* batch = nullptr;
  if (buffers_ != nullptr && (batch = buffers_->Take(space->id())) == nullptr) {
    intake_full_.Add();
    return reply.Send(Code::kExhausted, 0, 0, HintsNow(space->id(), 20));
  }
  write_backs_.Add();
  WriteBackCall local;
  WriteBackCall& call = batch != nullptr ? calls_[batch->index()] : local;
  call.count = message->head.count;
  call.started_ns = clock_.NowNs();
  std::size_t sent = 0;
  for (std::uint32_t i = 0; i < call.count; ++i) {
    const wire::PageDirty dirty = message->item(i);
    std::span<const std::byte> bytes;
    if (dirty.bulk_index != wire::kNoBulk) bytes = request.bulk.subspan(dirty.bulk_index * kPageBytes, kPageBytes);
    if (TakePage(*space, dirty, bytes, batch, call.results[i])) call.result_of[sent++] = static_cast<std::uint8_t>(i);
  }
  if (sent > 0) {
    call.reply.emplace(std::move(reply));
    replicas_->Append(*batch, AnswerBy(request), *this);
    return;
  }
  if (batch != nullptr) replicas_->Drop(*batch);
  SendResults(space->id(), reply, std::span(call.results).first(call.count));
}

bool MemoryService::TakePage(Space& space, const wire::PageDirty& dirty, std::span<const std::byte> bytes, Batch* batch,
                             wire::PageResult& result) {
  const PageVersion version{PageNumber(dirty.page), Version(dirty.version), dirty.crc32c};
  const Frame& frame = *space.Find(version.page);
  const auto answer = [&](Code code) {
    const bool safe = frame.durable || frame.state == FrameState::kEmpty;  // nothing is left of a trimmed page to protect
    result = {.page = dirty.page, .stored_version = frame.version, .code = static_cast<std::uint32_t>(code),
              .level = batch != nullptr && safe ? kLevelDisk : kLevelHome};
    return false;
  };
  const Verdict verdict = Judge(frame.held(), version.version, version.crc32c);
  if (verdict == Verdict::kSuperseded) return pages_superseded_.Add(), answer(Code::kSuperseded);
  if (verdict == Verdict::kTwoVersions) {
    two_versions_.Add();
    if (refusals_log_.Allow(clock_.NowNs()))
      log::Error("memory: two contents under one version, refused; this is a bug or broken memory at the pnode space={} "
                 "page={} version={} crc_held={:08x} crc_new={:08x}", space.id().value(), dirty.page, dirty.version,
                 frame.crc32c, dirty.crc32c);
    return answer(Code::kDataLoss);
  }
  if (verdict == Verdict::kAlready && (batch == nullptr || frame.durable)) return pages_already_.Add(), answer(Code::kAlready);

  // The checksum is taken from our copy: the peer can still write to the bytes that came.
  const std::span<std::byte> copy = batch != nullptr ? batch->NextPageBuffer() : std::span<std::byte>(scratch_);
  if (!bytes.empty()) std::memcpy(copy.data(), bytes.data(), kPageBytes);
  const std::span<const std::byte> checked = bytes.empty() ? bytes : std::span<const std::byte>(copy);
  if (PageCrc32c(space.id(), version.page, version.version, checked) != version.crc32c)
    return bad_crc_.Add(), answer(Code::kDataLoss);
  if (verdict == Verdict::kTake) {
    space.Store(version, checked);
    pages_taken_.Add();
    if (bytes.empty()) zero_pages_.Add();
  } else {
    pages_already_.Add();
  }
  answer(verdict == Verdict::kTake ? Code::kOk : Code::kAlready);
  if (batch == nullptr) return false;
  batch->Add(version, !bytes.empty());
  return true;
}

void MemoryService::OnAppended(Batch& batch, const AppendOutcome& outcome) {
  WriteBackCall& call = calls_[batch.index()];
  write_back_ns_.Add(clock_.NowNs() - call.started_ns);
  fit::ReplyWriter reply = *std::exchange(call.reply, std::nullopt);
  if (outcome.code != Code::kOk)
    return reply.Send(outcome.code, 0, 0, HintsNow(batch.space(), std::max<std::uint16_t>(outcome.retry_after_ms, 20)));
  const std::span<const Batch::Page> pages = batch.pages();
  for (std::size_t i = 0; i < pages.size(); ++i) {
    wire::PageResult& result = call.results[call.result_of[i]];
    switch (pages[i].code) {
      case Code::kOk:
      case Code::kAlready:
      case Code::kSuperseded:
        result.level = kLevelDisk;
        break;
      case Code::kExhausted:
        result.code = static_cast<std::uint32_t>(Code::kExhausted);
        break;
      default:  // damaged on the way to the snode, or refused there: the pnode still has the page
        result.code = static_cast<std::uint32_t>(Code::kUnavailable);
    }
  }
  SendResults(batch.space(), reply, std::span(call.results).first(call.count));
}

void MemoryService::SendResults(SpaceId space, fit::ReplyWriter& reply, std::span<const wire::PageResult> results) {
  MessageWriter out(reply.payload());
  out.Put(wire::ListReply{.next = 0, .count = static_cast<std::uint32_t>(results.size()), .flags = 0});
  for (const wire::PageResult& result : results) out.Put(result);
  reply.Send(Code::kOk, out.size(), 0, HintsNow(space));
}

void MemoryService::Trim(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = ReadMessage<wire::SpaceList, wire::TrimRange>(request.payload, wire::kMaxTrimRanges);
  if (!message || message->head.count == 0) return Reject(reply);
  std::array<wire::TrimRange, wire::kMaxTrimRanges> ranges;
  for (std::uint32_t i = 0; i < message->head.count; ++i) {
    ranges[i] = message->item(i);
    if (ranges[i].page_count == 0 || ranges[i].page_count > UINT32_MAX ||  // the log's entries count in 32 bits
        ranges[i].first_page > UINT64_MAX - ranges[i].page_count ||
        ranges[i].up_to_version > kMaxVersion || ranges[i].era != 0)
      return Reject(reply);
  }
  Space* space = Admit(request, SpaceId(message->head.space), Epoch(message->head.epoch), reply);
  if (space == nullptr) return;
  const std::span<const wire::TrimRange> all = std::span(ranges).first(message->head.count);
  // First remembered for the snode, then done here: a resend after a refusal finds everything as it was.
  if (replicas_ != nullptr && !replicas_->AddTrims(space->id(), all)) return reply.Send(Code::kExhausted, 0, 0, HintsNow(space->id(), 100));
  for (const wire::TrimRange& range : all)
    space->Trim(PageNumber(range.first_page), range.page_count, Version(range.up_to_version));
  trims_.Add(all.size());
  reply.Send(Code::kOk, 0, 0, HintsNow(space->id()));
}

}  // namespace ashlar::mnode
