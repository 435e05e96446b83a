#include "daemons/snode/replica_log/page_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"

namespace ashlar::snode {
namespace {

constexpr std::uint64_t kRunBits = 16;

}  // namespace

absl::StatusOr<std::unique_ptr<PageReader>> PageReader::Make(LogDevice& device, PageIndex& index, LogCounters& counters,
                                                             const Clock& clock) {
  ASHLAR_ASSIGN_OR_RETURN(Mapping buffer, Mapping::Anonymous(kSlots * kMaxPages * kPageBytes));
  return std::unique_ptr<PageReader>(new PageReader(device, index, counters, clock, std::move(buffer)));
}

PageReader::PageReader(LogDevice& device, PageIndex& index, LogCounters& counters, const Clock& clock, Mapping buffer)
    : device_(device), index_(index), counters_(counters), clock_(clock), buffer_(std::move(buffer)) {
  constexpr std::size_t kSlotBytes = kMaxPages * kPageBytes;
  for (std::size_t i = 0; i < kSlots; ++i) slots_[i].bytes = buffer_.bytes().subspan(i * kSlotBytes, kSlotBytes);
}

absl::Status PageReader::Start(SpaceId space, std::span<const PageNumber> pages, Done done) {
  ASHLAR_CHECK(pages.size() <= kMaxPages, "pages={}", pages.size());
  if (waiting_.size() >= kMaxWaiting) return absl::ResourceExhaustedError("replica_log: too many reads wait");
  Call call{.space = space, .pages = {}, .done = std::move(done), .started_ns = clock_.NowNs()};
  for (PageNumber page : pages) call.pages.push_back({.page = page, .verdict = ReadVerdict::kNotFound, .stored = {}, .bytes = {}});
  waiting_.push_back(std::move(call));
  return BeginWaiting();
}

absl::Status PageReader::Begin(std::uint32_t slot_index) {
  Slot& slot = slots_[slot_index];
  slot.pieces.clear();
  slot.runs.clear();
  slot.again = false;
  for (std::uint32_t i = 0; i < slot.call.pages.size(); ++i) {
    PageRead& read = slot.call.pages[i];
    read = {.page = read.page, .verdict = ReadVerdict::kNotFound, .stored = {}, .bytes = {}};
    const PageSlot* held = index_.FindPage(slot.call.space, read.page);
    if (held == nullptr) continue;
    read.stored = {.version = held->version, .era = held->era, .crc = held->crc, .zero = held->zero()};
    read.verdict = held->bad ? ReadVerdict::kBad : ReadVerdict::kOk;
    if (!held->bad && !held->zero()) slot.pieces.push_back({.index = i, .from = {held->segment, held->block}});
  }
  std::sort(slot.pieces.begin(), slot.pieces.end(), [](const Piece& a, const Piece& b) {
    return std::pair(a.from.segment, a.from.block) < std::pair(b.from.segment, b.from.block);
  });
  for (std::uint32_t i = 0; i < slot.pieces.size(); ++i) {
    const bool follows = i > 0 && !slot.one_by_one && slot.pieces[i].from.segment == slot.pieces[i - 1].from.segment &&
                         slot.pieces[i].from.block == slot.pieces[i - 1].from.block + 1;
    if (!follows) slot.runs.push_back({.first_piece = i, .count = 0});
    ++slot.runs.back().count;
  }
  slot.unread = static_cast<std::uint32_t>(slot.runs.size());
  if (slot.runs.empty()) ended_.push_back(slot_index);
  for (std::uint64_t run = 0; run < slot.runs.size(); ++run) queued_.push_back(kReadTag | std::uint64_t{slot_index} << kRunBits | run);
  return SubmitRuns();
}

absl::Status PageReader::SubmitRuns() {
  for (; reading_ < kMaxReads && !queued_.empty(); ++reading_) {
    const std::uint64_t tag = queued_.front();
    queued_.pop_front();
    const Slot& slot = slots_.at((tag & ~kReadTag) >> kRunBits);
    const Run& run = slot.runs.at(tag & ((1U << kRunBits) - 1));
    const Piece& first = slot.pieces.at(run.first_piece);
    ASHLAR_RETURN_IF_ERROR(device_.SubmitRead(
        tag, first.from, slot.bytes.subspan(run.first_piece * kPageBytes, run.count * kPageBytes)));
  }
  return absl::OkStatus();
}

absl::Status PageReader::OnReadDone(std::uint64_t tag, int error) {
  const auto slot_index = static_cast<std::uint32_t>((tag & ~kReadTag) >> kRunBits);
  Slot& slot = slots_.at(slot_index);
  const Run run = slot.runs.at(tag & ((1U << kRunBits) - 1));
  --reading_;
  if (error != 0) counters_.read_errors_total.Add();
  if (error != 0 && run.count > 1) {
    slot.one_by_one = slot.again = true;  // which page of the run is it?
  } else {
    for (std::uint32_t i = 0; i < run.count; ++i) Judge(slot, run.first_piece + i, error);
  }
  if (--slot.unread > 0) return SubmitRuns();
  // A page that the cleaner moved meanwhile is read where it is now. This ends: to move it again takes a whole segment.
  if (slot.again) return Begin(slot_index);
  ended_.push_back(slot_index);
  return SubmitRuns();
}

void PageReader::Judge(Slot& slot, std::uint32_t piece_index, int error) {
  const Piece& piece = slot.pieces[piece_index];
  PageRead& read = slot.call.pages[piece.index];
  const std::span<const std::byte> bytes = slot.bytes.subspan(piece_index * kPageBytes, kPageBytes);
  if (error == 0 && PageCrc32c(slot.call.space, read.page, read.stored.version, bytes) == read.stored.crc) {
    read.bytes = bytes;
    return;
  }
  const PageSlot* held = index_.FindPage(slot.call.space, read.page);
  if (held == nullptr || held->segment != piece.from.segment || held->block != piece.from.block) {
    slot.again = true;
    return;
  }
  read.verdict = ReadVerdict::kBad;
  ReportBad(index_, counters_, slot.call.space, read.page, *held, error);
}

absl::Status PageReader::RunDone() {
  for (std::uint32_t slot_index : std::exchange(ended_, {})) {
    Slot& slot = slots_[slot_index];
    Call call = std::move(slot.call);
    counters_.read_ns.Add(clock_.NowNs() - call.started_ns);
    counters_.read_pages_total.Add(call.pages.size());
    call.done(call.pages);
    slot.busy = slot.one_by_one = false;
    --active_;
  }
  return BeginWaiting();
}

absl::Status PageReader::BeginWaiting() {
  for (std::uint32_t i = 0; i < kSlots && !waiting_.empty(); ++i) {
    if (slots_[i].busy) continue;
    slots_[i].busy = true;
    ++active_;
    slots_[i].call = std::move(waiting_.front());
    waiting_.pop_front();
    ASHLAR_RETURN_IF_ERROR(Begin(i));
  }
  return absl::OkStatus();
}

void ReportBad(PageIndex& index, LogCounters& counters, SpaceId space, PageNumber page, const PageSlot& held, int error) {
  const PageSlot at = held;
  if (!index.MarkBad(space, page, at.version)) return;
  counters.bad_pages_total.Add();
  log::Error("replica_log: page is unreadable space={} page={} version={} segment={} block={} error={}: it answers DataLoss until it is sent again",
             space.value(), page.value(), at.version.value(), at.segment, at.block, error);
}

}  // namespace ashlar::snode
