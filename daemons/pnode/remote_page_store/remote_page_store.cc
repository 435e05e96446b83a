// The face of the store: buffers, spaces, events, stats. The other files hold the rest.
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
    : shard_(shard), options_(std::move(options)), clock_(clock) {
  ASHLAR_CHECK(options_.max_write_backs >= 1, "at least one write-back must be allowed");
  for (std::uint32_t i = 0; i < options_.max_write_backs; ++i) write_backs_.emplace_back().store = this;
}

RemotePageStore::~RemotePageStore() {
  for (HomeLink& home : homes_) home.connection.reset();
  for (StorageLink& storage : storages_) storage.connection.reset();
}

HomeLink& RemotePageStore::AddHome(HomeOptions options) {
  for (std::uint32_t i = 0; i < options_.max_write_backs; ++i) write_backs_.emplace_back().store = this;
  HomeLink& home = homes_.emplace_back(*this, std::move(options), options_.max_write_backs);
  home.write_batches_allowed.Set(home.write_backs_allowed);
  return home;
}

StorageLink& RemotePageStore::AddStorage(std::string name) {
  ASHLAR_CHECK(spaces_.empty() && storages_.size() < 64, "storage nodes are added before the first space, at most 64");
  return storages_.emplace_back(*this, std::move(name), storages_.size());
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
  it->second = std::make_unique<RemoteSpace>(id, options_.max_trims, storages_.size());
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
    if (op.space == space && op.state == WriteBackOp::State::kSent) op.home->connection->Cancel(op);
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
             space.home != nullptr ? space.home->name() : "", why);
  space.lost = std::move(why);
  space.trims.Clear();
  space.make_wanted.clear();
  space.window_wanted.clear();
  space.maybe_empty.clear();
  space.to_refill.clear();
  ++space.active;  // so that the loss is told behind the requests that end now
  RetryFetches();
  for (WriteBackOp& op : write_backs_)
    if (op.space == &space && op.state == WriteBackOp::State::kWaiting) FailWriteBack(op, space.lost);
  Leave(space);
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
  LeaveHomesThatStayAway();
  RetryFetches();
  RetryWriteBacks();
  std::vector<RemoteSpace*> all;  // pumping one may erase it
  for (auto& [id, space] : spaces_) all.push_back(space.get());
  for (RemoteSpace* space : all) PumpSpace(*space);
}

std::vector<fit::LinkReport> RemotePageStore::link_reports() const {
  std::vector<fit::LinkReport> reports;
  for (const HomeLink& home : homes_) reports.push_back(home.connection->report());
  for (const StorageLink& storage : storages_) reports.push_back(storage.connection->report());
  return reports;
}

void RemotePageStore::CollectStats(StatList& stats) const {
  stats.Add("store_fetched_pages_total", fetch_pages_read_, "by=read");
  stats.Add("store_fetched_pages_total", fetch_pages_by_message_, "by=message");
  stats.Add("store_fetched_pages_total", fetch_pages_recovered_, "by=storage");
  stats.Add("store_fetch_retries_total", fetch_retries_);
  stats.Add("store_fetch_failures_total", fetch_failures_);
  stats.Add("store_write_batches_total", write_back_batches_);
  stats.Add("store_written_pages_total", write_back_pages_);
  stats.Add("store_written_zero_pages_total", write_back_zero_pages_);
  stats.Add("store_write_failures_total", write_back_failures_);
  stats.Add("store_write_refused_total", write_backs_refused_);
  stats.Add("store_damaged_pages_total", damaged_on_the_way_);
  stats.Add("store_trim_ranges_total", trims_sent_);
  stats.Add("store_trims_skipped_total", trims_skipped_);
  stats.Add("store_trims_dropped_total", trims_dropped_);
  stats.Add("store_extents_mapped_total", extents_mapped_);
  stats.Add("store_extents_unmapped_total", extents_unmapped_);
  stats.Add("store_map_calls_total", map_calls_);
  stats.Add("store_spaces_lost_total", spaces_lost_);
  stats.Add("store_homes_left_total", homes_left_);
  stats.Add("store_extents_refilled_total", extents_refilled_);
  stats.Add("store_refills_repeated_total", refills_repeated_);
  stats.Add("fetch_wire_ns", fetch_wire_ns_);
  stats.Add("write_back_ns", write_back_ns_);
  stats.Add("recover_read_ns", recover_read_ns_);
  stats.Add("fence_ns", fence_ns_);
  stats.Add("refill_ns", refill_ns_);
  for (const HomeLink& home : homes_) {
    const std::string label = absl::StrCat("home=", home.name());
    stats.Add("store_link_up", home.link_up, label);
    stats.Add("store_link_losses_total", home.link_losses, label);
    stats.Add("store_write_batches_allowed", home.write_batches_allowed, label);
    if (home.connection != nullptr) home.connection->CollectStats(stats);
  }
  for (const StorageLink& storage : storages_) {
    const std::string label = absl::StrCat("storage=", storage.name);
    stats.Add("store_link_up", storage.link_up, label);
    stats.Add("store_link_losses_total", storage.link_losses, label);
    stats.Add("store_recovered_pages_total", storage.pages_read, label);
    if (storage.connection != nullptr) storage.connection->CollectStats(stats);
  }
}

}  // namespace ashlar::pnode
