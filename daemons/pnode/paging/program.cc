#include "daemons/pnode/paging/program.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "daemons/pnode/paging/cookie.h"
#include "daemons/pnode/paging/s3fifo_policy.h"

namespace ashlar::pnode {
namespace {

constexpr std::uint64_t kProbeNs = 50'000'000;        // how soon an exit or exec without a sign is noticed
constexpr std::uint64_t kProbeAfterExitNs = 1'000'000;  // the process has ended, its memory is about to
constexpr std::uint64_t kSettleNs = 20'000;             // a thread whose event was read has to run before its change is done
constexpr int kReadRounds = 8;                        // of 16 events each, before other work has its turn

}  // namespace

Program::Program(const SpaceConfig& config, Parts parts, OwnerContext context, std::uint32_t number,
                 std::shared_ptr<ProgramCounters> counters)
    : config_(config),
      context_(context),
      number_(number),
      counters_(std::move(counters)),
      count_(*counters_),
      hash_seed_(config.space.value() * 0x9E3779B97F4A7C15ull ^ context.clock.NowNs()),
      mover_(std::move(parts.mover)),
      victims_(parts.victim_bytes),
      policy_(std::make_unique<S3FifoPolicy>(resident_)) {
  limit_pages_ = config.limit_bytes / kPageBytes;
  fresh_most_ = fresh_reserve_ = limit_pages_ * config.fresh_percent / 100;
  SetResidentLimit();
  resident_.Reserve(limit_pages_ + limit_pages_ / 4);
  batch_.reserve(mover_->max_batch());
  move_requests_.reserve(mover_->max_batch());
  dirty_pages_.reserve(PageStore::kMaxWriteBackPages);
  auto root_memory = std::make_unique<Memory>();
  root_memory->source = std::move(parts.source);
  root_memory->root = true;
  root_memory->changed = true;
  memories_.push_back(std::move(root_memory));
  count_.limit_pages.Set(limit_pages_);
}

Program::~Program() = default;

void Program::SetResidentLimit() {
  std::uint64_t reserved = victims_.slot_count() + mover_->staging_pages() + fresh_reserve_;
  // Below this a program could not make progress: the limit's check is the caller's.
  resident_limit_ = std::max<std::uint64_t>(limit_pages_ > reserved ? limit_pages_ - reserved : 0, 4 * mover_->max_batch());
}

bool Program::Turn(std::uint64_t now_ns) {
  if (ended_) return false;
  bool worked = false;
  if (!killed_) {
    worked |= FinishBatch(now_ns);
    for (std::size_t i = 0; i < memories_.size() && !killed_; ++i) worked |= ReadEvents(*memories_[i], now_ns);
    if (arrived_ && !killed_) worked |= InstallArrived(now_ns);
    for (std::size_t i = 0; i < memories_.size() && !killed_; ++i) worked |= ServeParked(*memories_[i], now_ns);
  }
  if (!killed_ && root().settled()) {
    worked |= Adopt(now_ns);
    worked |= WorkOnPins(now_ns);
  }
  if (!killed_) {
    RetryFetches(now_ns);
    worked |= DropIdleAhead(now_ns, /*all=*/stuck_since_ns_ != 0);
    EndRests(now_ns);
    worked |= StartBatch(now_ns);
    worked |= FlushDirty(now_ns);
    FlushTrims();
    CheckTrouble(now_ns);
  }
  CheckGone(now_ns);
  FinishIfGone();
  UpdateGauges();
  return worked;
}

bool Program::ReadEvents(Memory& memory, std::uint64_t now_ns, bool drain) {
  if (memory.gone) return false;
  if (memory.root && !batch_.empty()) return false;  // the drain rule
  bool any = false;
  for (int round = 0; round < kReadRounds && !memory.gone && !killed_; ++round) {
    event_buffer_.clear();
    int count = memory.source->Read(event_buffer_);
    if (count <= 0) break;
    any = true;
    std::vector<MemoryEvent> events;
    events.swap(event_buffer_);
    Receive(memory, events, now_ns);
    events.swap(event_buffer_);
    if (count < FaultSource::kMaxRead && !drain) break;
  }
  if (any) fill_again_ = false;
  ApplyChanges(memory, now_ns);
  return any;
}

void Program::Receive(Memory& memory, std::vector<MemoryEvent>& events, std::uint64_t now_ns) {
  for (MemoryEvent& event : events) {
    if (event.kind == MemoryEvent::Kind::kFault) {
      memory.parked.push_back({event.range.start, now_ns, event.write, event.thread});
      continue;
    }
    if (event.kind == MemoryEvent::Kind::kFork) {
      memory.forks.push_back(BeginLook(memory, memory.changes.size()));
      (void)LookAtChild(memory.forks.back(), *event.child);
    }
    memory.changes.push_back(std::move(event));
  }
}

bool Program::Step(Memory& memory, PageEntry& entry, PageEvent event, PageNumber page) {
  PageState before = entry.page_state();
  std::optional<PageState> after = Next(before, event);
  if (!after.has_value()) {
    Kill(absl::StrCat("the state of its memory is not what it must be: page ", page.value(), " is ", Name(before), " and met ",
                      Name(event), "; something outside wrote or mapped it"));
    return false;
  }
  if (memory.root && before != *after) {
    --state_counts_[static_cast<int>(before)];
    ++state_counts_[static_cast<int>(*after)];
  }
  entry.set_state(*after);
  return true;
}

void Program::Kill(std::string reason) {
  if (killed_) return;
  killed_ = true;
  log::Error("paging: program killed space={:x} reason=\"{}\"", config_.space.value(), reason);
  context_.events.KillProgram(config_.space, reason);
}

void Program::NoteTrouble(const absl::Status& status, std::string_view doing) {
  std::uint64_t now_ns = context_.clock.NowNs();
  if (trouble_since_ns_ == 0) trouble_since_ns_ = now_ns;
  trouble_ = absl::StrCat(std::string(doing), ": ", std::string(status.message()));
  if (trouble_log_.Allow(now_ns)) {
    log::Warn("paging: memory out of reach space={:x} doing={} error=\"{}\" for_ms={} left_out={}", config_.space.value(), doing,
              status, (now_ns - trouble_since_ns_) / 1'000'000, trouble_log_.TakeLeftOut());
  }
}

void Program::NoteSuccess() {
  trouble_since_ns_ = 0;
  if (holding_) {
    holding_ = false;
    count_.holding.Set(0);
    context_.events.OnHolding(config_.space, false, "");
  }
}

void Program::CheckTrouble(std::uint64_t now_ns) {
  // A store that neither answers nor fails is trouble as well.
  std::uint64_t oldest = trouble_since_ns_;
  for (std::uint32_t index : groups_) {
    const FetchPool::Group& group = context_.fetches.group(index);
    for (std::uint32_t i = 0; i < group.count; ++i) {
      if (group.pages[i].progress != FetchPool::PageProgress::kPosted) continue;
      if (oldest == 0 || group.posted_ns < oldest) oldest = group.posted_ns;
      break;
    }
  }
  auto give_up_ns = static_cast<std::uint64_t>(absl::ToInt64Nanoseconds(config_.give_up));
  if (oldest == 0 || now_ns < oldest + give_up_ns) return;
  std::string reason = absl::StrCat("its remote memory was out of reach for ", absl::FormatDuration(config_.give_up),
                                    trouble_.empty() ? "" : " (", trouble_, trouble_.empty() ? "" : ")");
  if (config_.on_trouble == SpaceConfig::OnTrouble::kKill) {
    Kill(reason);
  } else if (!holding_) {
    holding_ = true;
    count_.holding.Set(1);
    context_.events.OnHolding(config_.space, true, reason);
  }
}

void Program::CheckGone(std::uint64_t now_ns) {
  if (now_ns >= next_probe_ns_) {
    bool soon = killed_;
    for (std::size_t i = 0; i < memories_.size(); ++i) {  // ApplyChanges may add some
      Memory& memory = *memories_[i];
      if (!memory.gone && memory.source->Gone()) {
        // A process may fork and end: its child comes first, or nobody would serve it.
        ApplyChanges(memory, now_ns);
        memory.gone = killed_ || memory.settled();
        soon |= !memory.gone;
      }
      if (memory.root && !memory.gone && memory.source->process_fd() < 0) soon = true;
    }
    next_probe_ns_ = now_ns + (soon ? kProbeAfterExitNs : kProbeNs);
  }
  for (std::size_t i = memories_.size(); i-- > 1;) {
    if (!memories_[i]->gone) continue;
    DropMemory(*memories_[i]);
    memories_.erase(memories_.begin() + static_cast<std::ptrdiff_t>(i));
    recheck_blocked_ = true;
  }
  if (root().gone && root().source != nullptr) {
    DropMemory(root());
    root().source.reset();  // nobody is left to read zeros
  }
  if (!live_children() && !deferred_trims_.empty() && !PushesUnderWay()) {
    trims_.insert(trims_.end(), deferred_trims_.begin(), deferred_trims_.end());
    deferred_trims_.clear();
  }
}

// The process's memory does not exist any more: all that was kept for it is free, as far as nobody else uses it.
void Program::DropMemory(Memory& memory) {
  for (std::size_t i = groups_.size(); i-- > 0;) {
    std::uint32_t index = groups_[i];
    FetchPool::Group& group = context_.fetches.group(index);
    if (group.memory != &memory) continue;
    for (std::uint32_t k = 0; k < group.count; ++k) {
      FetchPool::Page& page = group.pages[k];
      if (page.progress == FetchPool::PageProgress::kUnused || page.progress == FetchPool::PageProgress::kAbandoned) continue;
      page.progress =
          page.progress == FetchPool::PageProgress::kPosted ? FetchPool::PageProgress::kAbandoned : FetchPool::PageProgress::kUnused;
      if (memory.root) --fetching_;
    }
    group.memory = nullptr;  // what is still on the wire comes back to nobody
    group.ahead = false;
    ReleaseIfDone(index);
  }
  memory.parked.clear();
  memory.changes.clear();
  memory.forks.clear();
  memory.held.clear();
  if (!memory.root) {
    memory.resident = 0;
    return;
  }
  for (const Evicting& item : batch_) victims_.Return(item.slot);
  batch_.clear();
  for (auto state : {SlotState::kDirty, SlotState::kSending}) {
    while (victims_.Oldest(state) != VictimArea::kNone) victims_.Forget(victims_.slot(victims_.Oldest(state)).page);
  }
  for (std::uint32_t slot : blocked_) {
    if (victims_.slot(slot).blocked) victims_.Forget(victims_.slot(slot).page);
  }
  blocked_.clear();
  for (Pin& pin : pins_) {
    if (pin.done) pin.done(absl::CancelledError("the program is gone"));
  }
  pins_.clear();
}

void Program::FinishIfGone() {
  if (ended_ || memories_.size() > 1 || !root().gone) return;
  if (!destroyed_) {
    destroyed_ = true;
    for (std::size_t i = groups_.size(); i-- > 0;) {  // pushes for children that are gone
      FetchPool::Group& group = context_.fetches.group(groups_[i]);
      for (std::uint32_t k = 0; k < group.count; ++k) {
        if (group.pages[k].progress == FetchPool::PageProgress::kPosted) {
          group.pages[k].progress = FetchPool::PageProgress::kAbandoned;
        } else if (group.pages[k].progress != FetchPool::PageProgress::kAbandoned) {
          group.pages[k].progress = FetchPool::PageProgress::kUnused;
        }
      }
      ReleaseIfDone(groups_[i]);
    }
    if (!lost_) context_.store.DestroySpace(config_.space);
  }
  if (sending_ == 0 && groups_.empty()) {
    ended_ = true;  // the pager releases the rest and tells
  }
}

void Program::OnSpaceLost(const absl::Status& reason) {
  if (lost_) return;
  lost_ = true;
  Kill(absl::StrCat("its remote memory is lost: ", std::string(reason.message())));
  // The store calls no more for this space: what was under way is ours again.
  sending_ = 0;
  for (std::size_t i = groups_.size(); i-- > 0;) {
    FetchPool::Group& group = context_.fetches.group(groups_[i]);
    for (FetchPool::Page& page : group.pages) {
      if (group.memory != nullptr && group.memory->root && page.progress != FetchPool::PageProgress::kUnused &&
          page.progress != FetchPool::PageProgress::kAbandoned) {
        --fetching_;
      }
      page.progress = FetchPool::PageProgress::kUnused;
    }
    ReleaseIfDone(groups_[i]);
  }
}

std::uint64_t Program::NextTimerNs(std::uint64_t now_ns) const {
  if (ended_) return 0;
  std::uint64_t next = next_probe_ns_;
  auto sooner = [&](std::uint64_t when) { next = std::min(next, when); };
  if (killed_ || memories_[0]->gone) return next;
  if (batch_.empty()) {
    sooner(next_scan_ns_);
    if (eviction_pause_ns_ > now_ns) sooner(eviction_pause_ns_);
  }
  if (victims_.Oldest(SlotState::kDirty) != VictimArea::kNone && !store_full_) {
    sooner(std::max(resend_ns_, victims_.slot(victims_.Oldest(SlotState::kDirty)).since_ns + kWriteBackDelayNs));
  }
  if (fill_again_) sooner(now_ns + 100'000);
  if (stuck_since_ns_ != 0) sooner(now_ns + 1'000'000);
  for (const auto& memory : memories_) {
    if (!memory->settled()) sooner(now_ns + kSettleNs);
    if (!memory->parked.empty()) sooner(now_ns + 1'000'000);
  }
  for (std::uint32_t index : groups_) {
    const FetchPool::Group& group = context_.fetches.group(index);
    if (group.ahead) sooner(now_ns + 10'000'000);
    for (std::uint32_t i = 0; i < group.count; ++i) {
      if (group.pages[i].progress == FetchPool::PageProgress::kFailed) sooner(group.pages[i].retry_ns);
    }
  }
  if (!pins_.empty()) sooner(pin_check_ns_);
  return next;
}

bool Program::Arm() {
  if (ended_ || batch_.empty()) return false;
  return mover_->Arm();
}

void Program::Disarm() {
  if (!ended_) mover_->Disarm();
}

void Program::AppendWaitFds(std::vector<int>& memory_fds, std::vector<int>& process_fds) const {
  if (ended_) return;
  for (const auto& memory : memories_) {
    if (memory->gone) continue;
    bool draining = memory->root && !batch_.empty();
    if (!killed_ && !draining && memory->source->fd() >= 0) memory_fds.push_back(memory->source->fd());
    if (memory->source->process_fd() >= 0) process_fds.push_back(memory->source->process_fd());
  }
  if (!batch_.empty() && mover_->event_fd() >= 0) memory_fds.push_back(mover_->event_fd());
}

void Program::UpdateGauges() {
  std::uint64_t child_pages = 0;
  for (std::size_t i = 1; i < memories_.size(); ++i) child_pages += memories_[i]->resident;
  std::uint64_t counted = CountedPages();
  count_.resident_pages.Set(resident_.size());
  count_.staged_pages.Set(victims_.count(SlotState::kDirty) + victims_.count(SlotState::kSending));
  count_.victim_pages.Set(victims_.slot_count() - victims_.count(SlotState::kFree));
  count_.remote_pages.Set(state_counts_[static_cast<int>(PageState::kRemote)] +
                          state_counts_[static_cast<int>(PageState::kFetching)]);
  count_.child_pages.Set(child_pages);
  count_.children.Set(memories_.size() - 1);
  count_.peak_pages.Max(counted);
  if (counted > limit_pages_) count_.peak_over_limit_pages.Max(counted - limit_pages_);
}

}  // namespace ashlar::pnode
