// The face of the store: buffers, spaces, events, the link, stats. fetching.cc, writing.cc and control.cc hold the rest.
#include "daemons/pnode/remote_page_store/remote_page_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"

namespace ashlar::pnode {
namespace {
constexpr std::uint64_t kTickNs = 20'000'000;
}  // namespace

RemotePageStore::RemotePageStore(fit::Shard& shard, RemotePageStoreOptions options, const Clock& clock)
    : shard_(shard), options_(std::move(options)), clock_(clock), write_backs_allowed_(options_.max_write_backs) {
  ASHLAR_CHECK(options_.max_write_backs >= 1, "at least one write-back must be allowed");
  for (std::uint32_t i = 0; i < options_.max_write_backs; ++i) write_backs_.emplace_back().store = this;
  write_batches_allowed_.Set(write_backs_allowed_);
}

RemotePageStore::~RemotePageStore() { connection_.reset(); }

void RemotePageStore::Attach(std::unique_ptr<fit::Connection> connection) {
  ASHLAR_CHECK(connection_ == nullptr, "one link to one home");
  connection_ = std::move(connection);
}

absl::Status RemotePageStore::AddBuffer(std::span<std::byte> bytes) {
  absl::StatusOr<std::unique_ptr<fabric::Region>> region = shard_.Register(bytes);
  if (!region.ok()) return Annotate(region.status(), absl::StrCat("page store: register a buffer of ", bytes.size(), " bytes"));
  buffers_.push_back({bytes, *std::move(region)});
  return absl::OkStatus();
}

void RemotePageStore::RemoveBuffer(std::span<std::byte> bytes) {
  const std::size_t gone = std::erase_if(buffers_, [&](const Buffer& buffer) { return buffer.bytes.data() == bytes.data(); });
  ASHLAR_CHECK(gone == 1, "that buffer was not added");
}

fabric::Slice RemotePageStore::SliceOf(std::span<const std::byte> bytes) const {
  for (const Buffer& buffer : buffers_) {
    const std::byte* const base = buffer.bytes.data();
    if (bytes.data() >= base && bytes.data() + bytes.size() <= base + buffer.bytes.size())
      return {buffer.region.get(), static_cast<std::uint64_t>(bytes.data() - base), static_cast<std::uint32_t>(bytes.size())};
  }
  ASHLAR_CHECK(false, "bytes at {} lie in no buffer of the store", static_cast<const void*>(bytes.data()));
}

RemoteSpace* RemotePageStore::FindSpace(SpaceId id) const {
  const auto it = spaces_.find(id);
  return it == spaces_.end() ? nullptr : it->second.get();
}

absl::Status RemotePageStore::CreateSpace(SpaceId id) {
  const auto [it, added] = spaces_.try_emplace(id, nullptr);
  if (!added) return absl::AlreadyExistsError(absl::StrCat("page store: space ", id.value(), " exists"));
  it->second = std::make_unique<RemoteSpace>(id, options_.max_trims);
  PumpSpace(*it->second);
  return absl::OkStatus();
}

void RemotePageStore::DestroySpace(SpaceId id) {
  RemoteSpace* space = FindSpace(id);
  if (space == nullptr || space->ending) return;
  space->ending = true;
  space->trims.Clear();
  space->maybe_empty.clear();
  RetryFetches();  // those that wait end now; those on the wire end with it
  for (WriteBackOp& op : write_backs_)
    if (op.space == space && op.state == WriteBackOp::State::kWaiting) FailWriteBack(op, absl::CancelledError("the space ended"));
  for (WriteBackOp& op : write_backs_)
    if (op.space == space && op.state == WriteBackOp::State::kSent) connection_->Cancel(op);
  PumpSpace(*space);
}

int RemotePageStore::Poll() {
  shard_.Poll();
  std::swap(finished_, delivering_);
  for (const Event& event : delivering_) {
    switch (event.kind) {
      case Event::Kind::kFetched: events_->OnFetched(event.id, event.status); break;
      case Event::Kind::kWrittenBack: events_->OnWrittenBack(event.id, event.status, event.level); break;
      case Event::Kind::kSpaceLost: events_->OnSpaceLost(SpaceId(event.id), event.status); break;
    }
  }
  const int delivered = static_cast<int>(delivering_.size());
  delivering_.clear();
  return delivered;
}

void RemotePageStore::Leave(RemoteSpace& space) {
  --space.active;
  if (space.active == 0 && !space.lost.ok() && !space.loss_told) {
    space.loss_told = true;
    if (!space.ending) finished_.push_back({Event::Kind::kSpaceLost, AckLevel::kHome, space.id.value(), space.lost});
  }
  PumpSpace(space);
}

void RemotePageStore::LoseSpace(RemoteSpace& space, absl::Status why) {
  if (!space.lost.ok() || space.ending) return;
  spaces_lost_.Add();
  log::Error("page store: a space is lost, its program cannot go on space={} home={} reason={}", space.id.value(),
             options_.home, why);
  space.lost = std::move(why);
  space.trims.Clear();
  space.make_wanted.clear();
  space.window_wanted.clear();
  space.maybe_empty.clear();
  ++space.active;  // so that the loss is told behind the requests that end now
  RetryFetches();
  for (WriteBackOp& op : write_backs_)
    if (op.space == &space && op.state == WriteBackOp::State::kWaiting) FailWriteBack(op, space.lost);
  Leave(space);
}

bool RemotePageStore::LostBy(RemoteSpace& space, fit::Code code) {
  if (code == fit::Code::kStaleEpoch) {
    LoseSpace(space, absl::FailedPreconditionError(absl::StrCat(
        "memory node ", options_.home, " serves another owner of this program's memory: a newer start of this processor node, or another one")));
    return true;
  }
  if (code == fit::Code::kNotFound) {
    LoseSpace(space, absl::DataLossError(absl::StrCat(
        "memory node ", options_.home, " no longer keeps this program's memory: it was out of reach for longer than the node waits")));
    return true;
  }
  return false;
}

void RemotePageStore::OnUp(Incarnation server, std::uint64_t) {
  const bool restarted = home_incarnation_ != Incarnation(0) && server != home_incarnation_;
  home_incarnation_ = server;
  link_up_.Set(1);
  std::vector<RemoteSpace*> all;
  for (auto& [id, space] : spaces_) all.push_back(space.get());
  for (RemoteSpace* space : all) {
    space->map_retry_at_ns = space->control_retry_at_ns = 0;
    if (restarted) {
      const bool had_pages = std::any_of(space->extents.begin(), space->extents.end(),
                                         [](const auto& entry) { return entry.second.maybe_there.any(); });
      space->created = false;
      space->extents.clear();
      if (had_pages)
        LoseSpace(*space, absl::DataLossError(absl::StrCat(
            "memory node ", options_.home, " restarted and lost the pages of this program that were there; getting them back from the "
            "storage node is not built yet")));
    }
    PumpSpace(*space);
  }
  RetryFetches();
  RetryWriteBacks();
}

void RemotePageStore::OnDown(const absl::Status& reason) {
  link_up_.Set(0);
  link_losses_.Add();
  log::Warn("page store: no link to the memory node, its pages wait home={} spaces={} reason={}", options_.home, spaces_.size(), reason);
}

void RemotePageStore::ArmTick() {
  if (std::exchange(tick_armed_, true)) return;
  shard_.At(Now() + kTickNs, [this, alive = std::weak_ptr<bool>(alive_)] {
    if (!alive.expired()) Tick();
  });
}

// Ends what has waited to its deadline and looks again at what waits for the clock.
void RemotePageStore::Tick() {
  tick_armed_ = false;
  RetryFetches();
  RetryWriteBacks();
  std::vector<RemoteSpace*> all;  // pumping one may erase it
  for (auto& [id, space] : spaces_) all.push_back(space.get());
  for (RemoteSpace* space : all) PumpSpace(*space);
}

void RemotePageStore::CollectStats(StatList& stats) const {
  const std::string home = absl::StrCat("home=", options_.home);
  stats.Add("store_link_up", link_up_, home);
  stats.Add("store_link_losses_total", link_losses_, home);
  stats.Add("store_fetched_pages_total", fetch_pages_read_, absl::StrCat(home, ",by=read"));
  stats.Add("store_fetched_pages_total", fetch_pages_by_message_, absl::StrCat(home, ",by=message"));
  stats.Add("store_fetch_retries_total", fetch_retries_, home);
  stats.Add("store_fetch_failures_total", fetch_failures_, home);
  stats.Add("store_write_batches_total", write_back_batches_, home);
  stats.Add("store_written_pages_total", write_back_pages_, home);
  stats.Add("store_written_zero_pages_total", write_back_zero_pages_, home);
  stats.Add("store_write_failures_total", write_back_failures_, home);
  stats.Add("store_write_refused_total", write_backs_refused_, home);
  stats.Add("store_write_batches_allowed", write_batches_allowed_, home);
  stats.Add("store_damaged_pages_total", damaged_on_the_way_, home);
  stats.Add("store_trim_ranges_total", trims_sent_, home);
  stats.Add("store_trims_skipped_total", trims_skipped_, home);
  stats.Add("store_trims_dropped_total", trims_dropped_, home);
  stats.Add("store_extents_mapped_total", extents_mapped_, home);
  stats.Add("store_extents_unmapped_total", extents_unmapped_, home);
  stats.Add("store_map_calls_total", map_calls_, home);
  stats.Add("store_spaces_lost_total", spaces_lost_, home);
  stats.Add("fetch_wire_ns", fetch_wire_ns_, home);
  stats.Add("write_back_ns", write_back_ns_, home);
  if (connection_ != nullptr) connection_->CollectStats(stats);
}

}  // namespace ashlar::pnode
