#include "daemons/snode/replica_log/sim_disk.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"

namespace ashlar::snode {

bool SimDisk::HasStore() const {
  return !medium_.segments.empty() || std::any_of(medium_.superblocks.begin(), medium_.superblocks.end(),
                                                  [](const auto& copy) { return !copy.empty(); });
}

absl::Status SimDisk::ReadSuperblock(std::uint32_t copy, disk::Block out) {
  const auto& bytes = medium_.superblocks.at(copy);
  std::fill(out.begin(), out.end(), std::byte{0});
  std::copy(bytes.begin(), bytes.end(), out.begin());
  return absl::OkStatus();
}

absl::Status SimDisk::WriteSuperblock(std::uint32_t copy, disk::ConstBlock bytes) {
  medium_.superblocks.at(copy).assign(bytes.begin(), bytes.end());
  return absl::OkStatus();
}

absl::Status SimDisk::CreateSegment(std::uint32_t number, std::uint32_t blocks) {
  medium_.segments[number].assign(blocks * disk::kBlockBytes, std::byte{0});
  return absl::OkStatus();
}

absl::Status SimDisk::AttachSegment(std::uint32_t number, std::uint32_t blocks) {
  auto found = medium_.segments.find(number);
  if (found == medium_.segments.end() || found->second.size() != blocks * disk::kBlockBytes)
    return absl::DataLossError(absl::StrCat("segment ", number, " is missing"));
  return absl::OkStatus();
}

absl::Status SimDisk::Read(BlockAddress from, std::span<std::byte> out) {
  const auto& segment = medium_.segments.at(from.segment);
  const std::size_t at = from.block * disk::kBlockBytes;
  ASHLAR_CHECK(at + out.size() <= segment.size(), "read beyond segment {} at {}", from.segment, from.block);
  for (std::size_t b = 0; b < out.size() / disk::kBlockBytes; ++b)
    if (unreadable_.contains({from.segment, from.block + static_cast<std::uint32_t>(b)}))
      return absl::DataLossError(absl::StrCat("read segment ", from.segment, " block ", from.block + b, ": Input/output error"));
  std::memcpy(out.data(), segment.data() + at, out.size());
  return absl::OkStatus();
}

absl::Status SimDisk::Quarantine(std::string_view name, std::span<const std::byte> bytes) {
  medium_.quarantine.try_emplace(std::string(name), bytes.begin(), bytes.end());
  return absl::OkStatus();
}

absl::Status SimDisk::SubmitWrite(std::uint64_t tag, BlockAddress to,
                                  std::span<const std::span<const std::byte>> parts) {
  ASHLAR_CHECK(!crashed_ && parts.size() <= kMaxParts, "parts={}", parts.size());
  PendingWrite write{.tag = tag, .to = to, .bytes = {}};
  for (std::span<const std::byte> part : parts) write.bytes.insert(write.bytes.end(), part.begin(), part.end());
  ASHLAR_CHECK(to.block * disk::kBlockBytes + write.bytes.size() <= medium_.segments.at(to.segment).size(),
               "write beyond segment {} at {}", to.segment, to.block);
  pending_.push_back(std::move(write));
  if (crash_in_start_) Crash(crash_in_start_);
  return absl::OkStatus();
}

absl::Status SimDisk::SubmitRead(std::uint64_t tag, BlockAddress from, std::span<std::byte> out) {
  if (hold_reads_)
    held_reads_.push_back({tag, from, out});
  else
    completed_.push_back({.tag = tag, .error = Read(from, out).ok() ? 0 : EIO});
  return absl::OkStatus();
}

void SimDisk::ReleaseReads() {
  for (const HeldRead& read : std::exchange(held_reads_, {})) completed_.push_back({.tag = read.tag, .error = Read(read.from, read.out).ok() ? 0 : EIO});
}

absl::Status SimDisk::Reap(std::vector<Completion>* done) {
  while (auto_complete_ && !pending_.empty()) Complete(0);
  done->insert(done->end(), completed_.begin(), completed_.end());
  completed_.clear();
  return absl::OkStatus();
}

void SimDisk::Complete(std::size_t i, int error) {
  ASHLAR_CHECK(i < pending_.size() && !crashed_, "i={} pending={}", i, pending_.size());
  if (fail_writes_ > 0) {
    --fail_writes_;
    error = EIO;
  }
  for (std::size_t b = 0; b < pending_[i].bytes.size() / disk::kBlockBytes; ++b)
    if (unwritable_.contains({pending_[i].to.segment, pending_[i].to.block + static_cast<std::uint32_t>(b)})) error = EIO;
  Persist(pending_[i]);
  completed_.push_back({.tag = pending_[i].tag, .error = error});
  pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
  ++writes_completed_;
}

void SimDisk::Crash(const KeepSector& keep) {
  crashed_ = true;
  for (std::size_t w = 0; w < pending_.size(); ++w) {
    const PendingWrite& write = pending_[w];
    std::byte* at = medium_.segments.at(write.to.segment).data() + write.to.block * disk::kBlockBytes;
    for (std::size_t s = 0; s < write.bytes.size() / kSectorBytes; ++s)
      if (keep(w, s)) std::memcpy(at + s * kSectorBytes, write.bytes.data() + s * kSectorBytes, kSectorBytes);
  }
  pending_.clear();
  completed_.clear();
}

void SimDisk::Persist(const PendingWrite& write) {
  std::byte* at = medium_.segments.at(write.to.segment).data() + write.to.block * disk::kBlockBytes;
  std::memcpy(at, write.bytes.data(), write.bytes.size());
}

}  // namespace ashlar::snode
