#include "daemons/mnode/replication/replicator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace ashlar::mnode {
namespace wire = fit::wire;
namespace {

constexpr std::uint64_t kTickNs = 20'000'000;
constexpr std::uint64_t kFirstBackOffNs = 50'000'000;
constexpr std::uint64_t kMaxBackOffNs = 2'000'000'000;

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

bool IsOpen(SlotState state) { return state == SlotState::kCopying || state == SlotState::kCurrent; }

bool Kept(fit::Code code) {
  return code == fit::Code::kOk || code == fit::Code::kAlready || code == fit::Code::kSuperseded;
}

}  // namespace

Replicator::Replicator(fit::Shard& shard, SpaceTable& spaces, BatchBuffers& buffers, const ReplicatorOptions& options,
                       const Clock& clock)
    : shard_(shard), spaces_(spaces), buffers_(buffers), options_(options), clock_(clock),
      down_since_ns_(clock.NowNs()), append_started_ns_(buffers.count()) {}

Replicator::~Replicator() {
  pumping_ = true;  // calls end now; none begins
  connection_.reset();
  for (auto& [id, slot] : slots_) {
    for (Batch* batch : slot->waiting) {
      batch->owner_->OnAppended(*batch, {});
      buffers_.Return(*batch);
    }
  }
}

void Replicator::Attach(std::unique_ptr<fit::Connection> connection) {
  ASHLAR_CHECK(connection_ == nullptr, "one link to one snode");
  connection_ = std::move(connection);
}

Replicator::Slot& Replicator::SlotOf(SpaceId space, Epoch epoch, SpaceOwner owner) {
  std::unique_ptr<Slot>& slot = slots_[space];
  if (slot == nullptr) {
    slot = std::make_unique<Slot>();
    slot->space = space;
    slot->owner = owner;
    slot->control.replicator = this;
    slot->control.slot = slot.get();
    slot_count_.Add();
  }
  slot->epoch = std::max(slot->epoch, epoch);
  return *slot;
}

void Replicator::AddSpace(const Space& space) {
  const auto known = slots_.find(space.id());
  const bool raised = known != slots_.end() && known->second->epoch < space.epoch();
  const bool returned = known != slots_.end() && known->second->leaving;
  Slot& slot = SlotOf(space.id(), space.epoch(), space.owner());
  slot.leaving = false;  // it came back before it had gone
  slot.owner = space.owner();
  if (raised || returned) Apply(slot, SlotEvent::kEpochRaised);  // the snode has to hear of it before the next append
  Touch(slot);
  Pump();
}

SlotState Replicator::StateOf(SpaceId space) const {
  const auto it = slots_.find(space);
  return it == slots_.end() ? SlotState::kEmpty : it->second->state;
}

void Replicator::Append(Batch& batch, fit::Deadline deadline, BatchOwner& owner) {
  const auto it = slots_.find(batch.space_);
  ASHLAR_CHECK(it != slots_.end() && !it->second->ending && !it->second->leaving, "space {} was not added", batch.space_.value());
  Slot& slot = *it->second;
  batch.deadline_ = deadline;
  batch.owner_ = &owner;
  batch.replicator_ = this;
  batch.ticket_ = ++last_ticket_;
  slot.tickets.push_back(batch.ticket_);
  slot.waiting.push_back(&batch);
  waiting_batches_.Add();
  if (Space* space = spaces_.Find(batch.space_))
    for (const Batch::Page& page : batch.pages()) space->BeginSend(page.version);
  Apply(slot, SlotEvent::kFellBehind);
  Touch(slot);
  Pump();
  if (waiting_batches_.value() > 0) ArmTick();
}

bool Replicator::AddTrims(SpaceId space, std::span<const wire::TrimRange> ranges) {
  const auto it = slots_.find(space);
  ASHLAR_CHECK(it != slots_.end() && !it->second->ending && !it->second->leaving, "space {} was not added", space.value());
  Slot& slot = *it->second;
  if (slot.trims.size() + ranges.size() > options_.max_trims) return false;
  for (const wire::TrimRange& range : ranges) {
    slot.trims.push_back({range, last_ticket_});
    slot.trims.back().range.era = slot.era;
  }
  trims_waiting_.Add(ranges.size());
  Touch(slot);
  Pump();
  return true;
}

void Replicator::EndSpace(SpaceId space, Epoch epoch, fit::Deadline deadline, absl::AnyInvocable<void(bool)> done) {
  const bool known = slots_.contains(space);
  Slot& slot = SlotOf(space, epoch, {});
  slot.ending = true;
  DropWaiting(slot);
  if (known && !slot.asked) {  // the snode never heard of it
    for (EndWaiter& waiter : slot.end_waiters) waiter.done(true);
    Erase(slot);
    return done(true);
  }
  slot.end_waiters.push_back({deadline, std::move(done)});
  Touch(slot);
  Pump();
  ArmTick();
}

void Replicator::LeaveSpace(SpaceId space) {
  const auto it = slots_.find(space);
  if (it == slots_.end()) return;
  it->second->leaving = true;
  DropWaiting(*it->second);
  Touch(*it->second);
  Pump();
}

void Replicator::DropWaiting(Slot& slot) {
  trims_waiting_.Sub(slot.trims.size() - slot.control.trims);
  slot.trims.resize(slot.control.trims);  // those under way end with their call
  for (Batch* batch : std::exchange(slot.waiting, {})) {
    waiting_batches_.Sub();
    EndBatch(slot, *batch, {fit::Code::kUnavailable, 0});
    buffers_.Return(*batch);
  }
}

SlotFacts Replicator::FactsOf(const Slot& slot) const {
  const Space* space = spaces_.Find(slot.space);
  SlotFacts facts;
  facts.state = slot.state;
  facts.link_up = link_up();
  facts.control_busy = slot.control.busy;
  facts.ending = slot.ending;
  facts.leaving = slot.leaving;
  facts.trims_pending = !slot.trims.empty();
  facts.trim_ready = !slot.trims.empty() && (slot.tickets.empty() || slot.tickets.front() > slot.trims.front().after_ticket);
  facts.batch_waiting = !slot.waiting.empty();
  facts.behind_idle = space != nullptr && space->idle_behind_pages() > 0;
  facts.append_room = appends_ < options_.max_appends;
  // Write-backs keep at least a quarter of the buffers for themselves.
  facts.catch_up_room = catch_ups_ < options_.max_catch_up && buffers_.used_percent() < 75;
  facts.appends_under_way = slot.appends > 0;
  facts.retry_at_ns = slot.retry_at_ns;
  facts.now_ns = Now();
  return facts;
}

void Replicator::Apply(Slot& slot, SlotEvent event) {
  const std::optional<SlotState> next = Next(slot.state, event);
  ASHLAR_CHECK(next.has_value(), "slot of space {}: event {} in state {}", slot.space.value(), static_cast<int>(event),
               static_cast<int>(slot.state));
  if (IsOpen(*next) && !IsOpen(slot.state)) slots_open_.Add();
  if (!IsOpen(*next) && IsOpen(slot.state)) slots_open_.Sub();
  if (*next != SlotState::kFenced && slot.state == SlotState::kFenced) fenced_.Sub();
  if (*next == SlotState::kFenced && slot.state != SlotState::kFenced) {
    fenced_.Add();
    log::Warn("replication: space is fenced at the snode, another home has it space={} epoch={} snode={}",
              slot.space.value(), slot.epoch.value(), options_.snode);
  }
  slot.state = *next;
}

// An answer to what was sent under an epoch that this home has left behind says nothing of the present one.
void Replicator::Fenced(Slot& slot, Epoch sent) {
  if (sent == slot.epoch) Apply(slot, SlotEvent::kFenced);
}

void Replicator::Touch(Slot& slot) {
  if (std::exchange(slot.queued, true)) return;
  ready_.push_back(slot.space);
}

// One step per slot and round, so that a space with many batches does not starve the others. A slot that only waits for
// room on the link stays in the queue.
void Replicator::Pump() {
  if (std::exchange(pumping_, true)) return;  // a step called back into us: the loop below sees what it added
  std::deque<SpaceId> blocked;
  while (!ready_.empty()) {
    const auto it = slots_.find(ready_.front());
    ready_.pop_front();
    if (it == slots_.end()) continue;
    Slot& slot = *it->second;
    slot.queued = false;
    const SlotFacts facts = FactsOf(slot);
    const Step step = NextStep(facts);
    if (step == Step::kRelease) {
      Erase(slot);
    } else if (step == Step::kWaitForRetry) {
      ArmTick();
    } else if (step != Step::kWait && DoStep(slot, step)) {
      Touch(slot);
    } else if (step != Step::kWait || (facts.link_up && IsOpen(facts.state) && (facts.batch_waiting || facts.behind_idle))) {
      slot.queued = true;
      blocked.push_back(slot.space);
    }
  }
  ready_ = std::move(blocked);
  pumping_ = false;
}

bool Replicator::DoStep(Slot& slot, Step step) {
  switch (step) {
    case Step::kOpenSpace: return SendOpen(slot);
    case Step::kSendTrims: return SendTrims(slot);
    case Step::kEndSpace: return SendEnd(slot);
    case Step::kCatchUp: return CatchUp(slot);
    case Step::kSendBatch:
      if (!SendBatch(slot, *slot.waiting.front())) return false;
      slot.waiting.pop_front();
      waiting_batches_.Sub();
      return true;
    case Step::kWait:
    case Step::kWaitForRetry:
    case Step::kRelease:
      break;
  }
  return false;
}

bool Replicator::StartControl(Slot& slot, wire::Opcode opcode, std::span<const std::byte> payload) {
  const absl::Status started =
      connection_->Start(opcode, payload, {}, {Now() + options_.control_timeout_ns}, slot.control);
  if (!started.ok()) return ArmTick(), false;  // FIT's queue is full: again at the next event or tick
  slot.control.opcode = opcode;
  slot.control.epoch = slot.epoch;
  slot.control.busy = true;
  return true;
}

bool Replicator::SendOpen(Slot& slot) {
  const wire::OpenRequest request{.space = slot.space.value(), .epoch = slot.epoch.value(),
                                  .owner_node = slot.owner.node.value(),
                                  .owner_incarnation = slot.owner.incarnation.value(), .view = 1, .ack = 2};
  if (!StartControl(slot, wire::Opcode::kOpenSpace, BytesOf(request))) return false;
  slot.asked = true;
  Apply(slot, SlotEvent::kOpenSent);
  return true;
}

bool Replicator::SendTrims(Slot& slot) {
  std::array<std::byte, sizeof(wire::SpaceList) + wire::kMaxTrimRanges * sizeof(wire::TrimRange)> payload;
  const std::uint64_t before = slot.tickets.empty() ? UINT64_MAX : slot.tickets.front();
  std::uint32_t count = 0;
  std::size_t end = sizeof(wire::SpaceList);
  for (const PendingTrim& trim : slot.trims) {
    if (count == wire::kMaxTrimRanges || trim.after_ticket >= before) break;
    std::memcpy(payload.data() + end, &trim.range, sizeof(trim.range));
    end += sizeof(trim.range);
    ++count;
  }
  const wire::SpaceList head{.space = slot.space.value(), .epoch = slot.epoch.value(), .view = 1, .count = count, .flags = 0};
  std::memcpy(payload.data(), &head, sizeof(head));
  if (!StartControl(slot, wire::Opcode::kTrim, std::span(payload).first(end))) return false;
  slot.control.trims = count;
  return true;
}

bool Replicator::SendEnd(Slot& slot) {
  const wire::SpaceList head{.space = slot.space.value(), .epoch = slot.epoch.value(), .view = 1, .count = 0, .flags = 0};
  return StartControl(slot, wire::Opcode::kDestroySpace, BytesOf(head));
}

bool Replicator::SendBatch(Slot& slot, Batch& batch) {
  std::array<std::byte, sizeof(wire::AppendHead) + wire::kMaxPagesPerCall * sizeof(wire::PageAppend)> payload;
  const wire::AppendHead head{.ticket = batch.ticket_, .count = batch.count_, .flags = 0};
  std::memcpy(payload.data(), &head, sizeof(head));
  std::size_t end = sizeof(head);
  std::uint32_t bulk_index = 0;
  for (const Batch::Page& page : batch.pages()) {
    const wire::PageAppend entry{.space = slot.space.value(), .epoch = slot.epoch.value(), .page = page.version.page.value(),
                                 .version = page.version.version.value(), .era = slot.era, .crc32c = page.version.crc32c,
                                 .bulk_index = page.has_bytes ? bulk_index++ : wire::kNoBulk};
    std::memcpy(payload.data() + end, &entry, sizeof(entry));
    end += sizeof(entry);
  }
  const fabric::Slice slice = batch.slice();
  const std::span<const fabric::Slice> bulk(&slice, slice.bytes > 0 ? 1 : 0);
  const absl::Status started =
      connection_->Start(wire::Opcode::kAppendPages, std::span(payload).first(end), bulk, batch.deadline_, batch);
  if (!started.ok()) return ArmTick(), false;
  append_started_ns_[batch.index_] = Now();
  batch.epoch_ = slot.epoch;
  append_batches_.Add();
  append_pages_.Add(batch.count_);
  ++appends_;
  ++slot.appends;
  if (batch.catch_up_) ++catch_ups_;
  return true;
}

// The bytes are copied out of the frames, so that a write-back which comes meanwhile need not wait for this send.
bool Replicator::CatchUp(Slot& slot) {
  Space* space = spaces_.Find(slot.space);
  std::array<PageVersion, wire::kMaxPagesPerCall> pages;
  const std::size_t count = space->CollectBehind(&slot.catch_up_cursor, pages);
  if (count == 0) return true;  // the cursor went round: once more from the start
  Batch* batch = buffers_.Take(slot.space);
  ASHLAR_CHECK(batch != nullptr, "catch_up_room said that there is a buffer");
  for (const PageVersion& page : std::span(pages).first(count)) {
    const bool has_bytes = space->Find(page.page)->state == FrameState::kPage;
    if (has_bytes) std::memcpy(batch->NextPageBuffer().data(), space->BytesOf(page.page).data(), kPageBytes);
    batch->Add(page, has_bytes);
    space->BeginSend(page);
  }
  batch->catch_up_ = true;
  batch->replicator_ = this;
  batch->ticket_ = ++last_ticket_;
  batch->deadline_ = {Now() + options_.catch_up_timeout_ns};
  if (!SendBatch(slot, *batch)) {
    for (const Batch::Page& page : batch->pages()) space->EndSend(page.version, /*durable=*/false);
    buffers_.Return(*batch);
    return false;
  }
  slot.tickets.push_back(batch->ticket_);
  catch_up_pages_.Add(count);
  return true;
}

void Replicator::AppendDone(Batch& batch, const fit::CallResult& result) {
  append_ns_.Add(Now() - append_started_ns_[batch.index_]);
  Slot& slot = *slots_.at(batch.space_);  // a slot outlives its appends
  const AppendOutcome outcome = Judge(slot, batch, result);
  const bool all_kept = outcome.code == fit::Code::kOk && std::all_of(batch.pages().begin(), batch.pages().end(),
                                                                      [](const Batch::Page& page) { return Kept(page.code); });
  if (all_kept) {
    slot.back_off_ns = 0;
  } else {
    append_failures_.Add();
    BackOff(slot, std::uint64_t{outcome.retry_after_ms} * 1'000'000);
    if (failures_log_.Allow(Now()))
      log::Warn("replication: append failed snode={} space={} pages={} status={} left_out={}", options_.snode,
                slot.space.value(), batch.count_, result.status.ok() ? absl::UnavailableError("some pages were not kept") : result.status, failures_log_.TakeLeftOut());
  }
  EndBatch(slot, batch, outcome);
}

// What the snode's answer says, whole and per page.
AppendOutcome Replicator::Judge(Slot& slot, Batch& batch, const fit::CallResult& result) {
  switch (result.status.ok() ? fit::Code::kOk : result.code) {
    case fit::Code::kOk: break;
    case fit::Code::kStaleEpoch: Fenced(slot, batch.epoch_); return {fit::Code::kUnavailable, 0};
    case fit::Code::kNotFound: Apply(slot, SlotEvent::kForgotten); return {fit::Code::kUnavailable, 20};
    case fit::Code::kExhausted: return {fit::Code::kExhausted, std::max<std::uint16_t>(result.hints.retry_after_ms, 1)};
    default: return {fit::Code::kUnavailable, result.hints.retry_after_ms};
  }
  wire::ListReply head;
  if (result.payload.size() < sizeof(head)) return {fit::Code::kUnavailable, 0};
  std::memcpy(&head, result.payload.data(), sizeof(head));
  if (head.count != batch.count_ || result.payload.size() < sizeof(head) + head.count * sizeof(wire::PageResult))
    return {fit::Code::kUnavailable, 0};
  for (std::uint32_t i = 0; i < batch.count_; ++i) {
    wire::PageResult page;
    std::memcpy(&page, result.payload.data() + sizeof(head) + i * sizeof(page), sizeof(page));
    const bool believable = page.page == batch.pages_[i].version.page.value() && page.code <= UINT16_MAX;
    const fit::Code code = believable ? static_cast<fit::Code>(page.code) : fit::Code::kUnavailable;
    batch.pages_[i].code = Kept(code) && page.level < 2 ? fit::Code::kUnavailable : code;
    if (code == fit::Code::kStaleEpoch) Fenced(slot, batch.epoch_);
    if (code == fit::Code::kNotFound) Apply(slot, SlotEvent::kForgotten);
  }
  return {fit::Code::kOk, 0};
}

// A batch has ended, sent or not: the frames, its owner, and what waited for it learn of it.
void Replicator::EndBatch(Slot& slot, Batch& batch, const AppendOutcome& outcome) {
  slot.tickets.erase(std::find(slot.tickets.begin(), slot.tickets.end(), batch.ticket_));
  if (Space* space = spaces_.Find(batch.space_)) {
    for (const Batch::Page& page : batch.pages())
      space->EndSend(page.version, outcome.code == fit::Code::kOk && Kept(page.code) && !slot.leaving);  // else: at another snode by now
  }
  SettleBehind(slot);
  if (batch.owner_ != nullptr) batch.owner_->OnAppended(batch, outcome);
  Touch(slot);
}

void Replicator::SettleBehind(Slot& slot) {
  const Space* space = spaces_.Find(slot.space);
  if (space == nullptr) return;
  Apply(slot, space->behind_pages() == 0 ? SlotEvent::kCaughtUp : SlotEvent::kFellBehind);
}

void Replicator::AppendReleased(Batch& batch) {
  Slot& slot = *slots_.at(batch.space_);
  --appends_;
  --slot.appends;
  if (batch.catch_up_) --catch_ups_;
  Touch(slot);
  buffers_.Return(batch);
  Pump();
}

void Replicator::Control::OnDone(const fit::CallResult& result) { replicator->ControlDone(*slot, result); }

void Replicator::Control::OnReleased() {
  Replicator* const owner = replicator;
  busy = false;
  if (finished) owner->Erase(*slot);  // and this object with it
  else owner->Touch(*slot);
  owner->Pump();
}

void Replicator::ControlDone(Slot& slot, const fit::CallResult& result) {
  const fit::Code code = result.status.ok() ? fit::Code::kOk : result.code;
  const bool ok = code == fit::Code::kOk || code == fit::Code::kAlready;
  const std::size_t trims = std::exchange(slot.control.trims, 0);
  switch (slot.control.opcode) {
    case wire::Opcode::kOpenSpace:
      if (ok && result.payload.size() >= sizeof(wire::FenceReply)) {
        wire::FenceReply reply;
        std::memcpy(&reply, result.payload.data(), sizeof(reply));
        slot.era = std::max(slot.era, reply.era);
      }
      Apply(slot, ok ? SlotEvent::kOpened : SlotEvent::kOpenFailed);
      if (ok) SettleBehind(slot);
      break;
    case wire::Opcode::kTrim:
      if (!ok && code != fit::Code::kMalformed) break;
      if (!ok)  // repeating would not help; the snode keeps some garbage until the space ends
        log::Error("replication: trims refused as malformed, a bug here or there snode={} space={}", options_.snode, slot.space.value());
      slot.trims.erase(slot.trims.begin(), slot.trims.begin() + static_cast<std::ptrdiff_t>(trims));
      trims_waiting_.Sub(trims);
      return;
    default:  // the end: a snode that does not know the space has nothing to end
      if (!ok && code != fit::Code::kNotFound && code != fit::Code::kStaleEpoch) break;
      slot.control.finished = true;
      for (EndWaiter& waiter : std::exchange(slot.end_waiters, {})) waiter.done(true);
      return;
  }
  if (ok) {
    slot.back_off_ns = 0;
    return;
  }
  if (code == fit::Code::kStaleEpoch) Fenced(slot, slot.control.epoch);
  if (code == fit::Code::kNotFound && slot.control.opcode == wire::Opcode::kTrim) Apply(slot, SlotEvent::kForgotten);
  BackOff(slot, std::uint64_t{result.hints.retry_after_ms} * 1'000'000);
  if (failures_log_.Allow(Now()))
    log::Warn("replication: call failed snode={} opcode={} space={} status={} left_out={}", options_.snode,
              static_cast<int>(slot.control.opcode), slot.space.value(), result.status, failures_log_.TakeLeftOut());
}

void Replicator::BackOff(Slot& slot, std::uint64_t at_least_ns) {
  slot.back_off_ns = std::clamp(slot.back_off_ns * 2, kFirstBackOffNs, kMaxBackOffNs);
  slot.retry_at_ns = Now() + std::max(slot.back_off_ns, at_least_ns);
}

void Replicator::Erase(Slot& slot) {
  if (IsOpen(slot.state)) slots_open_.Sub();
  if (slot.state == SlotState::kFenced) fenced_.Sub();
  trims_waiting_.Sub(slot.trims.size());
  slot_count_.Sub();
  slots_.erase(slot.space);
}

void Replicator::ArmTick() {
  if (std::exchange(tick_armed_, true)) return;
  shard_.At(Now() + kTickNs, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) Tick();
  });
}

// Ends what has waited to its deadline, and looks again at what waits for the clock.
void Replicator::Tick() {
  tick_armed_ = false;
  const std::uint64_t now = Now();
  bool more = false;
  for (auto& [id, slot] : slots_) {
    while (!slot->waiting.empty() && slot->waiting.front()->deadline_.at_ns <= now) {
      Batch& batch = *slot->waiting.front();
      slot->waiting.pop_front();
      waiting_batches_.Sub();
      EndBatch(*slot, batch, {fit::Code::kUnavailable, 100});
      buffers_.Return(batch);
    }
    for (std::size_t i = 0; i < slot->end_waiters.size();) {
      if (slot->end_waiters[i].deadline.at_ns > now) { ++i; continue; }
      EndWaiter expired = std::move(slot->end_waiters[i]);
      slot->end_waiters.erase(slot->end_waiters.begin() + static_cast<std::ptrdiff_t>(i));
      expired.done(false);
    }
    more = more || !slot->waiting.empty() || !slot->end_waiters.empty();
    Touch(*slot);
  }
  Pump();
  if (more) ArmTick();
}

void Replicator::OnUp(Incarnation server, std::uint64_t) {
  const bool same = server == snode_incarnation_;
  if (!same && snode_incarnation_ != Incarnation(0))
    log::Warn("replication: the snode restarted, spaces are opened again snode={} spaces={}", options_.snode, slots_.size());
  snode_incarnation_ = server;
  link_up_.Set(1);
  for (auto& [id, slot] : slots_) {
    Apply(*slot, same ? SlotEvent::kLinkUpSame : SlotEvent::kLinkUpNew);
    slot->retry_at_ns = slot->back_off_ns = 0;
    SettleBehind(*slot);
    Touch(*slot);
  }
  Pump();
}

void Replicator::OnDown(const absl::Status& reason) {
  link_up_.Set(0);
  down_since_ns_ = Now();
  link_losses_.Add();
  log::Warn("replication: no link to the snode, acknowledgements wait snode={} spaces={} reason={}", options_.snode,
            slots_.size(), reason);
  for (auto& [id, slot] : slots_) Apply(*slot, SlotEvent::kLinkDown);
}

void Replicator::CollectStats(StatList& stats) const {
  const std::string peer = absl::StrCat("peer=", options_.snode);
  stats.Add("replica_link_up", link_up_, peer);
  stats.Add("replica_link_losses_total", link_losses_, peer);
  stats.Add("replica_append_batches_total", append_batches_, peer);
  stats.Add("replica_append_pages_total", append_pages_, peer);
  stats.Add("replica_append_failures_total", append_failures_, peer);
  stats.Add("replica_catch_up_pages_total", catch_up_pages_, peer);
  stats.Add("replica_waiting_batches", waiting_batches_, peer);
  stats.Add("replica_trims_waiting", trims_waiting_, peer);
  stats.Add("degraded_spaces", slot_count_.value() - std::min(slot_count_.value(), slots_open_.value()), peer);
  stats.Add("replica_fenced_spaces", fenced_, peer);
  stats.Add("replica_append_ns", append_ns_, peer);
}

}  // namespace ashlar::mnode
