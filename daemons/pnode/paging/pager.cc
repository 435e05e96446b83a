#include "daemons/pnode/paging/pager.h"

#include <algorithm>

#include "common/base/status.h"
#include "daemons/pnode/paging/cookie.h"

namespace ashlar::pnode {

absl::StatusOr<std::unique_ptr<Pager>> Pager::Create(PageStore& store, const Clock& clock, PagingEvents& events,
                                                     std::uint32_t fetch_groups) {
  ASHLAR_ASSIGN_OR_RETURN(FetchPool pool, FetchPool::Create(fetch_groups));
  std::unique_ptr<Pager> pager(new Pager(store, clock, events, std::move(pool)));
  store.SetEvents(pager.get());
  ASHLAR_RETURN_IF_ERROR(Annotate(store.AddBuffer(pager->pool_.all_bytes()), "register the fetch buffers"));
  return pager;
}

Pager::~Pager() { store_.RemoveBuffer(pool_.all_bytes()); }

absl::Status Pager::Attach(const SpaceConfig& config, Program::Parts parts, std::shared_ptr<ProgramCounters> counters) {
  std::span<std::byte> victim_bytes = parts.victim_bytes;
  ASHLAR_RETURN_IF_ERROR(Annotate(store_.AddBuffer(victim_bytes), "register the victim area"));
  if (absl::Status created = store_.CreateSpace(config.space); !created.ok()) {
    store_.RemoveBuffer(victim_bytes);
    return Annotate(std::move(created), "create the space at its home");
  }
  std::uint32_t number = next_number_++;
  auto program = std::make_unique<Program>(config, std::move(parts), OwnerContext{store_, pool_, clock_, events_}, number,
                                           std::move(counters));
  programs_.emplace(number, Entry{std::move(program), victim_bytes});
  return absl::OkStatus();
}

void Pager::PinRanges(SpaceId space, std::uint32_t thread, std::vector<AddressRange> ranges, Program::Done done) {
  for (auto& [number, entry] : programs_) {
    if (entry.program->space() == space) return entry.program->PinRanges(thread, std::move(ranges), std::move(done));
  }
  if (done) done(absl::NotFoundError("no such program"));
}

void Pager::ProbeNow() {
  for (auto& [number, entry] : programs_) entry.program->ProbeNow();
}

bool Pager::Turn() {
  bool worked = store_.Poll() > 0;
  std::uint64_t now_ns = clock_.NowNs();
  std::vector<std::uint32_t> ended;
  for (auto& [number, entry] : programs_) {
    worked |= entry.program->Turn(now_ns);
    if (entry.program->ended()) ended.push_back(number);
  }
  for (std::uint32_t number : ended) {
    Entry entry = std::move(programs_.at(number));
    programs_.erase(number);
    store_.RemoveBuffer(entry.victim_bytes);
    SpaceId space = entry.program->space();
    entry.program.reset();
    if (released_) released_(space);
    events_.OnEnded(space);
    worked = true;
  }
  return worked;
}

std::uint64_t Pager::NextTimerNs() const {
  std::uint64_t now_ns = clock_.NowNs();
  std::uint64_t next = store_.NextTimerNs();
  for (const auto& [number, entry] : programs_) {
    std::uint64_t timer = entry.program->NextTimerNs(now_ns);
    if (timer != 0 && (next == 0 || timer < next)) next = timer;
  }
  return next;
}

bool Pager::Arm() {
  store_.Arm();
  bool ready = store_.Poll() > 0;
  for (auto& [number, entry] : programs_) ready |= entry.program->Arm();
  return ready;
}

void Pager::Disarm() {
  for (auto& [number, entry] : programs_) entry.program->Disarm();
}

void Pager::AppendWaitFds(std::vector<int>& memory_fds, std::vector<int>& process_fds) const {
  for (const auto& [number, entry] : programs_) entry.program->AppendWaitFds(memory_fds, process_fds);
}

void Pager::OnFetched(Cookie cookie, const absl::Status& status) {
  FetchPool::Group& group = pool_.group(CookieIndex(cookie) / FetchPool::kGroupPages);
  if (group.program != nullptr) group.program->OnFetched(CookieIndex(cookie), status);
}

void Pager::OnWrittenBack(Cookie cookie, const absl::Status& status, AckLevel level) {
  auto it = programs_.find(CookieProgram(cookie));
  if (it != programs_.end()) it->second.program->OnWrittenBack(CookieIndex(cookie), status, level);
}

void Pager::OnSpaceLost(SpaceId space, const absl::Status& reason) {
  for (auto& [number, entry] : programs_) {
    if (entry.program->space() == space) entry.program->OnSpaceLost(reason);
  }
}

}  // namespace ashlar::pnode
