#include "daemons/snode/append_service.h"

#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/fit/message.h"
#include "common/telemetry/log.h"
#include "daemons/snode/outcome_code.h"

namespace ashlar::snode {
namespace wire = fit::wire;
using fit::Code;
namespace {

constexpr std::uint64_t kMaxTrimPages = std::uint64_t{1} << 36;   // of one range: more than a process can map
constexpr std::uint16_t kRetryQueueMs = 5;                        // the queue drains at the disk's speed
constexpr std::uint16_t kRetryFullMs = 500;                       // room comes by trims and ends
constexpr std::uint32_t kLevelNone = 0, kLevelDisk = 2;
constexpr std::uint32_t kAckDisk = 2;

bool IsKept(Code code) { return code == Code::kOk || code == Code::kAlready || code == Code::kSuperseded; }

// A control call's answer with no payload but the epoch in force.
void SendPlain(fit::ReplyWriter reply, const SpaceAnswer& answer) {
  const Code code = CodeOf(answer.outcome);
  if (code != Code::kStaleEpoch) return reply.Send(code == Code::kAlready ? Code::kOk : code);
  fit::MessageWriter out(reply.payload());
  out.Put(wire::ListReply{.next = answer.epoch.value(), .count = 0, .flags = 0});
  reply.Send(code, out.size());
}

}  // namespace

absl::StatusOr<std::unique_ptr<AppendService>> AppendService::Create(
    fit::Shard& shard, std::unique_ptr<ReplicaLog> log, absl::AnyInvocable<void(const absl::Status&)> on_failed,
    const Clock& clock) {
  std::unique_ptr<AppendService> service(new AppendService(shard, std::move(log), std::move(on_failed), clock));
  ASHLAR_RETURN_IF_ERROR(shard.AddFd(service->log_->event_fd(), [raw = service.get()] { raw->Poll(); }));
  service->Poll();
  return service;
}

AppendService::AppendService(fit::Shard& shard, std::unique_ptr<ReplicaLog> log,
                             absl::AnyInvocable<void(const absl::Status&)> on_failed, const Clock& clock)
    : shard_(shard),
      log_(std::move(log)),
      on_failed_(std::move(on_failed)),
      clock_(clock),
      recovery_(*log_, [this](fit::ReplyWriter reply) { Malformed(std::move(reply)); }),
      self_(std::make_shared<AppendService*>(this)) {}

AppendService::~AppendService() { Close(); }

void AppendService::Close() {
  if (log_ == nullptr) return;
  shard_.RemoveFd(log_->event_fd());
  self_.reset();
  log_.reset();
}

void AppendService::Poll() {
  if (log_ == nullptr || failed_) return;
  if (const absl::Status status = log_->Poll(); !status.ok()) {
    failed_ = true;
    return on_failed_(status);
  }
  ArmTimer();
}

void AppendService::ArmTimer() {
  const std::optional<std::uint64_t> deadline = log_->NextDeadlineNs();
  if (!deadline) return;
  const std::uint64_t at = std::max(*deadline, clock_.NowNs());
  if (timer_ns_ != 0 && timer_ns_ <= at) return;  // it looks again when it fires
  timer_ns_ = at;
  shard_.At(at, [self = std::weak_ptr(self_), at] {
    const std::shared_ptr<AppendService*> service = self.lock();
    if (service == nullptr) return;
    if ((*service)->timer_ns_ == at) (*service)->timer_ns_ = 0;
    (*service)->Poll();
  });
}

void AppendService::Handle(const fit::RequestView& request, fit::ReplyWriter reply) {
  if (log_ == nullptr || failed_) return reply.Send(Code::kUnavailable);
  switch (request.opcode) {
    case wire::Opcode::kAppendPages:
      Append(request, std::move(reply));
      break;
    case wire::Opcode::kOpenSpace:
      OpenSpace(request, std::move(reply));
      break;
    case wire::Opcode::kTrim:
      Trim(request, std::move(reply));
      break;
    case wire::Opcode::kDestroySpace:
      EndSpace(request, std::move(reply));
      break;
    case wire::Opcode::kFenceEpoch:
      recovery_.Fence(request, std::move(reply));
      break;
    case wire::Opcode::kRecoverRead:
      recovery_.RecoverRead(request, std::move(reply));
      break;
    case wire::Opcode::kCompare:
      recovery_.Compare(request, std::move(reply));
      break;
    case wire::Opcode::kSpaceState:
      recovery_.SpaceState(request, std::move(reply));
      break;
    default:
      unknown_opcode_total_.Add();
      return reply.Send(Code::kUnknownOpcode);
  }
  Poll();  // a lone call goes to the disk at once; under load it joins the next batch
}

void AppendService::Malformed(fit::ReplyWriter reply) {
  malformed_total_.Add();
  reply.Send(Code::kMalformed);
}

void AppendService::Append(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = fit::ReadMessage<wire::AppendHead, wire::PageAppend>(request.payload, wire::kMaxPagesPerCall);
  if (!message || message->head.count == 0 || message->head.flags != 0) return Malformed(std::move(reply));
  std::vector<PageAppend> pages;
  pages.reserve(message->head.count);
  for (std::uint32_t i = 0; i < message->head.count; ++i) {
    const wire::PageAppend page = message->item(i);
    const std::byte* bytes = nullptr;
    if (page.bulk_index != wire::kNoBulk) {
      if (page.bulk_index >= request.bulk.size() / kPageBytes) return Malformed(std::move(reply));
      bytes = request.bulk.data() + page.bulk_index * kPageBytes;
    }
    if (page.page >= kMaxPageNumber) return Malformed(std::move(reply));
    pages.push_back({.space = SpaceId(page.space),
                     .epoch = Epoch(page.epoch),
                     .page = PageNumber(page.page),
                     .version = Version(page.version),
                     .era = page.era,
                     .crc = page.crc32c,
                     .bytes = bytes});
  }
  // Shared with the log's callback until it has taken the pages; an error comes back here.
  auto writer = std::make_shared<fit::ReplyWriter>(std::move(reply));
  std::vector<std::pair<SpaceId, PageNumber>> numbers(pages.size());
  std::transform(pages.begin(), pages.end(), numbers.begin(), [](const PageAppend& p) { return std::pair(p.space, p.page); });
  const auto answer = [writer, numbers = std::move(numbers), ticket = message->head.ticket,
                       log = log_.get()](std::span<const AppendResult> results) {
    fit::MessageWriter out(writer->payload());
    fit::Hints hints;
    out.Put(wire::ListReply{.next = ticket, .count = static_cast<std::uint32_t>(results.size()), .flags = 0});
    for (std::size_t i = 0; i < results.size(); ++i) {
      const Code code = CodeOf(results[i].outcome);
      const SpaceRecord* space = log->FindSpace(numbers[i].first);
      hints.ask_state = hints.ask_state || (space != nullptr && !space->bad_pages.empty()) || log->IsSuspect(numbers[i].first);
      out.Put(wire::PageResult{.page = numbers[i].second.value(),
                               .stored_version = results[i].stored_version.value(),
                               .code = static_cast<std::uint32_t>(code),
                               .level = IsKept(code) ? kLevelDisk : kLevelNone});
    }
    writer->Send(Code::kOk, out.size(), 0, hints);
  };
  const absl::Status status = log_->Append(pages, answer);
  if (absl::IsResourceExhausted(status)) {
    const bool full = log_->capacity() == CapacityState::kFull;
    return writer->Send(Code::kExhausted, 0, 0, {.retry_after_ms = full ? kRetryFullMs : kRetryQueueMs});
  }
  if (absl::IsInvalidArgument(status)) return Malformed(std::move(*writer));
  if (!status.ok()) writer->Send(Code::kUnavailable);
}

void AppendService::OpenSpace(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = fit::ReadMessage<wire::OpenRequest, wire::SnodeRef>(request.payload, wire::kMaxSnodeRefs);
  // Clones come with a later release.
  if (!message || message->head.parent_space != 0 || message->head.parent_era != 0 || message->head.ack != kAckDisk)
    return Malformed(std::move(reply));
  const wire::OpenRequest& open = message->head;
  const fit::Client& home = request.session->client();
  OpenRecord record{.epoch = Epoch(open.epoch),
                          .view = open.view,
                          .owner = {NodeId(open.owner_node), Incarnation(open.owner_incarnation)},
                          .home = {home.node, home.incarnation},
                          .ack = open.ack,
                          .replicas = {}};
  for (std::uint32_t i = 0; i < open.count; ++i) {
    const wire::SnodeRef member = message->item(i);
    if (member.node == 0 || member.state == 0 || member.state > 3 || member.reserved != 0) return Malformed(std::move(reply));
    record.replicas.push_back({.node = NodeId(member.node), .state = member.state});
  }
  auto writer = std::make_shared<fit::ReplyWriter>(std::move(reply));
  const absl::Status status =
      log_->OpenSpace(SpaceId(open.space), record,
                      [writer](const SpaceAnswer& answer) { SendFenceReply(std::move(*writer), answer); });
  if (absl::IsInvalidArgument(status)) return Malformed(std::move(*writer));
  if (!status.ok()) writer->Send(Code::kUnavailable);
}

void AppendService::Trim(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = fit::ReadMessage<wire::SpaceList, wire::TrimRange>(request.payload, wire::kMaxTrimRanges);
  if (!message || message->head.count == 0) return Malformed(std::move(reply));
  std::vector<TrimRange> ranges;
  for (std::uint32_t i = 0; i < message->head.count; ++i) {
    const wire::TrimRange range = message->item(i);
    if (range.first_page >= kMaxPageNumber || range.page_count == 0 || range.page_count > kMaxTrimPages)
      return Malformed(std::move(reply));
    for (std::uint64_t done = 0; done < range.page_count;) {  // an entry of the log counts in 32 bits
      const std::uint64_t count =
          std::min<std::uint64_t>(range.page_count - done, std::numeric_limits<std::uint32_t>::max());
      ranges.push_back({.first = PageNumber(range.first_page + done),
                        .count = count,
                        .upto = Version(range.up_to_version),
                        .era = range.era});
      done += count;
    }
  }
  auto writer = std::make_shared<fit::ReplyWriter>(std::move(reply));
  const absl::Status status =
      log_->Trim(SpaceId(message->head.space), Epoch(message->head.epoch), ranges,
                 [writer](const SpaceAnswer& answer) { SendPlain(std::move(*writer), answer); });
  if (absl::IsInvalidArgument(status)) return Malformed(std::move(*writer));
  if (!status.ok()) writer->Send(Code::kUnavailable);
}

void AppendService::EndSpace(const fit::RequestView& request, fit::ReplyWriter reply) {
  const auto message = fit::ReadMessage<wire::SpaceList, wire::u64>(request.payload, 0);
  if (!message || message->head.flags != 0 || message->head.space == 0) return Malformed(std::move(reply));
  auto writer = std::make_shared<fit::ReplyWriter>(std::move(reply));
  const absl::Status status =
      log_->EndSpace(SpaceId(message->head.space), Epoch(message->head.epoch),
                     [writer](const SpaceAnswer& answer) { SendPlain(std::move(*writer), answer); });
  if (!status.ok()) writer->Send(Code::kUnavailable);
}

AppendService::Usage AppendService::usage() const {
  return {.used_bytes = log_->live_bytes(), .limit_bytes = log_->usable_bytes(), .state = log_->capacity(),
          .bad_pages = log_->bad_pages(), .suspect_spaces = log_->suspect_spaces()};
}

void AppendService::CollectStats(StatList& stats) const {
  if (log_ != nullptr) log_->CollectStats(stats);
  stats.Add("requests_malformed_total", malformed_total_);
  stats.Add("requests_unknown_total", unknown_opcode_total_);
}

}  // namespace ashlar::snode
