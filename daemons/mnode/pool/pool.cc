#include "daemons/mnode/pool/pool.h"

#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"

namespace ashlar::mnode {

absl::StatusOr<std::unique_ptr<Pool>> Pool::Create(std::uint64_t bytes, Mapping::HugePages huge_pages) {
  const std::uint64_t extents = bytes / kExtentBytes;
  if (extents == 0 || extents > UINT32_MAX)
    return absl::InvalidArgumentError(absl::StrCat("pool: ", bytes, " bytes: must be at least one extent of ", kExtentBytes));
  absl::StatusOr<Mapping> memory = Mapping::Anonymous(extents * kExtentBytes, huge_pages);
  if (!memory.ok()) return Annotate(memory.status(), absl::StrCat("pool: map ", extents * kExtentBytes, " bytes"));
  absl::StatusOr<Mapping> frames = Mapping::Anonymous(extents * kExtentPages * sizeof(Frame));
  if (!frames.ok()) return Annotate(frames.status(), "pool: map the frame table");
  return std::unique_ptr<Pool>(new Pool(*std::move(memory), *std::move(frames), extents));
}

Pool::Pool(Mapping memory, Mapping frame_memory, std::size_t extents)
    : memory_(std::move(memory)), frame_memory_(std::move(frame_memory)), extents_(extents) {
  // The mapping is zeroed, and an all-zero Frame is an empty one: nothing needs to be written (or made resident) here.
  static_assert(static_cast<int>(FrameState::kEmpty) == 0);
  frames_ = {reinterpret_cast<Frame*>(frame_memory_.bytes().data()), extents * kExtentPages};
  free_.reserve(extents);
  for (std::size_t i = extents; i > 0; --i) free_.push_back(ExtentIndex(static_cast<std::uint32_t>(i - 1)));
}

absl::StatusOr<ExtentIndex> Pool::Take() {
  if (free_.empty())
    return absl::ResourceExhaustedError(absl::StrCat("pool: all ", extents_.size(), " extents are lent; raise pool_bytes"));
  const ExtentIndex extent = free_.back();
  free_.pop_back();
  Extent& entry = extents_[extent.value()];
  ASHLAR_CHECK(!entry.taken, "extent {} was free and taken", extent.value());
  entry.taken = true;
  ++entry.generation;
  for (std::size_t page = 0; page < kExtentPages; ++page) {
    Frame& meta = frame(extent, page);
    if (meta.touched) {
      std::memset(FrameBytes(extent, page).data(), 0, kPageBytes);
      frames_zeroed_.Add();
    }
    if (meta.touched || meta.version != 0) meta = Frame{};  // an untouched table page stays unmapped
  }
  extents_used_.Add();
  return extent;
}

void Pool::Release(ExtentIndex extent) {
  Extent& entry = extents_.at(extent.value());
  ASHLAR_CHECK(entry.taken, "extent {} was released twice", extent.value());
  entry.taken = false;
  free_.push_back(extent);
  extents_used_.Sub();
}

}  // namespace ashlar::mnode
