#include "daemons/mnode/replication/extent_filler.h"

#include <array>
#include <cstring>

#include "common/base/crc32c.h"
#include "daemons/mnode/pool/version_rule.h"

namespace ashlar::mnode {
namespace wire = fit::wire;
namespace {
constexpr std::uint64_t kReadTimeoutNs = 2'000'000'000;
}  // namespace

ExtentFiller::ExtentFiller(SpaceTable& spaces, ReplicaSet& replicas, const Clock& clock)
    : spaces_(spaces), replicas_(replicas), clock_(clock) {
  for (std::size_t i = 0; i < kMaxReads; ++i) {
    reads_.emplace_back().filler = this;
    free_.push_back(&reads_.back());
  }
}

void ExtentFiller::Fill(SpaceId space, std::uint64_t extent) {
  const Key key(space, extent);
  const auto [it, added] = jobs_.try_emplace(key);
  if (!added) return;
  const std::size_t own = replicas_.MemberOf(space);
  for (std::size_t i = 0; i < replicas_.size(); ++i)
    if (i != own && replicas_.member(i).link_up()) it->second.members.push_back(i);
  if (own < replicas_.size()) it->second.members.push_back(own);
  it->second.next_page = extent * kExtentPages;
  jobs_waiting_.Add();
  ready_.push_back(key);
  Pump();
}

void ExtentFiller::Pump() {
  if (pumping_ || ending_) return;
  pumping_ = true;
  while (!free_.empty() && !ready_.empty()) {
    const Key key = ready_.front();
    ready_.pop_front();
    Job& job = jobs_.at(key);
    const Space* space = spaces_.Find(key.first);
    if (space == nullptr || !space->FindExtent(key.second)) job.members.clear();  // ended, or unmapped
    bool sent = false;
    while (!sent && !job.members.empty()) {
      sent = Send(key, job);
      if (!sent) {
        reads_failed_.Add();
        job.members.pop_back();
        job.next_page = key.second * kExtentPages;
      }
    }
    if (sent) continue;
    jobs_.erase(key);
    jobs_waiting_.Sub();
    extents_filled_.Add();
  }
  pumping_ = false;
}

bool ExtentFiller::Send(const Key& key, Job& job) {
  const wire::RecoverRequest request{.space = key.first.value(), .epoch = spaces_.Find(key.first)->epoch().value(), .first_page = job.next_page,
                                     .count = wire::kMaxPagesPerCall, .mode = static_cast<std::uint32_t>(wire::RecoverMode::kScan)};
  Read& read = *free_.back();
  read.key = key;
  read.member = job.members.back();
  fit::Connection* const link = replicas_.member(read.member).connection();
  if (link == nullptr || !link->Start(wire::Opcode::kRecoverRead, std::as_bytes(std::span(&request, 1)), {},
                                      {clock_.NowNs() + kReadTimeoutNs}, read).ok())
    return false;
  free_.pop_back();
  return true;
}

void ExtentFiller::ReadDone(Read& read, const fit::CallResult& result) {
  Job& job = jobs_.at(read.key);
  std::uint64_t next = wire::kNoNextPage;
  if (result.status.ok()) next = TakePages(read.key, read.member, result);
  else if (result.code != fit::Code::kNotFound) reads_failed_.Add();  // the pnode finds what is missing, and asks again
  const std::uint64_t base = read.key.second * kExtentPages;
  if (next > job.next_page && next < base + kExtentPages) {
    job.next_page = next;
  } else {
    job.members.pop_back();
    job.next_page = base;
  }
}

std::uint64_t ExtentFiller::TakePages(const Key& key, std::size_t member, const fit::CallResult& result) {
  Space* space = spaces_.Find(key.first);
  if (space == nullptr || !space->FindExtent(key.second)) return wire::kNoNextPage;
  wire::ListReply head{};
  if (result.payload.size() >= sizeof(head)) std::memcpy(&head, result.payload.data(), sizeof(head));
  if (head.count > wire::kMaxPagesPerCall || result.payload.size() < sizeof(head) + head.count * sizeof(wire::PageHave)) return wire::kNoNextPage;
  for (std::uint32_t i = 0; i < head.count; ++i) {
    wire::PageHave have;
    std::memcpy(&have, result.payload.data() + sizeof(head) + i * sizeof(have), sizeof(have));
    const PageVersion version{PageNumber(have.page), Version(have.version), have.crc32c};
    const bool zero = have.bulk_index == wire::kNoBulk;
    const bool whole = have.code == static_cast<std::uint32_t>(fit::Code::kOk) && have.origin == key.first.value() &&
                       ExtentOf(version.page) == key.second && have.version != 0 && have.version <= kMaxVersion &&
                       (zero || have.bulk_index < result.bulk.size() / kPageBytes);
    if (!whole || Judge(space->Find(version.page)->held(), version.version, version.crc32c) != Verdict::kTake) {
      if (!whole) pages_refused_.Add();
      continue;
    }
    std::span<const std::byte> bytes;
    if (!zero) bytes = result.bulk.subspan(have.bulk_index * kPageBytes, kPageBytes);
    // The sender may still write to the bytes that came: the checksum is taken from our copy.
    alignas(64) std::array<std::byte, kPageBytes> copy;
    if (!zero) std::memcpy(copy.data(), bytes.data(), kPageBytes);
    if (!zero) bytes = copy;
    if (PageCrc32c(key.first, version.page, version.version, bytes) != version.crc32c) {
      pages_refused_.Add();
      continue;
    }
    space->Store(version, bytes);
    space->EndSend(version, /*durable=*/member == replicas_.MemberOf(key.first));
    pages_taken_.Add();
  }
  return head.next;
}

void ExtentFiller::ReadReleased(Read& read) {
  free_.push_back(&read);
  ready_.push_back(read.key);
  Pump();
}

void ExtentFiller::CollectStats(StatList& stats) const {
  stats.Add("fill_extents_total", extents_filled_);
  stats.Add("fill_extents_waiting", jobs_waiting_);
  stats.Add("fill_pages_total", pages_taken_);
  stats.Add("fill_pages_refused_total", pages_refused_);
  stats.Add("fill_reads_failed_total", reads_failed_);
}

}  // namespace ashlar::mnode
