// The messages of the data path: payload = fixed part + `count` items; bulk = pages in item order. Little-endian,
// naturally aligned, no padding; every size is asserted. Which call carries which, and the rules of each, stand in
// common/fit/README.md.
#pragma once

#include <cstdint>

namespace ashlar::fit::wire {

using u8 = std::uint8_t;
using u16 = std::uint16_t;
using u32 = std::uint32_t;
using u64 = std::uint64_t;

enum class Opcode : u16 {
  kMapExtents = 1,    // pnode → mnode   MapRequest → MapReply + ExtentGrant[<= 64]
  kUnmapExtents = 2,  // pnode → mnode   SpaceList + u64 first_page[<= 64] → empty
  kFetchPages = 3,    // pnode → mnode   SpaceList + PageWant[<= 64] → ListReply + PageHave[], bulk
  kWriteBack = 4,     // pnode → mnode   SpaceList + PageDirty[<= 64], bulk → ListReply + PageResult[]
  kDestroySpace = 6,  // p → m, m → s    SpaceList (count 0) → empty
  kTrim = 7,          // p → m, m → s    SpaceList + TrimRange[<= 126] → empty
  kAppendPages = 8,   // mnode → snode   AppendHead + PageAppend[<= 64], bulk → ListReply + PageResult[]
  kOpenSpace = 11,    // mnode → snode   OpenRequest (count 0) → FenceReply
};

constexpr u32 kNoBulk = 0xFFFFFFFFu;  // bulk_index: no bytes (a zero page, or an error)
constexpr u32 kMaxPagesPerCall = 64;
constexpr u32 kMaxTrimRanges = 126;

struct SpaceList {
  u64 space;
  u64 epoch;
  u64 view;   // newest replica view the caller knows
  u32 count;  // items behind
  u32 flags;  // kWriteBack: low byte = AckLevel wanted
};
struct ListReply {
  u64 next;  // cursor, or the current epoch with kStaleEpoch
  u32 count;
  u32 flags;
};
struct AppendHead {
  u64 ticket;  // the home's, rising
  u32 count;
  u32 flags;
};
struct MapRequest {
  u64 space;
  u64 epoch;
  u64 first_page;  // on an extent boundary
  u32 extents;     // 0: only raises the epoch (and makes the space known)
  u32 flags;       // 1: make new extents for the range, before the first write-back into it; 2: those there are
};
struct MapReply {
  u64 pool_incarnation;
  u32 count;
  u32 reserved;
};
struct ExtentGrant {
  u64 first_page;
  u64 base;  // base and key: a RemoteWindow of 4 MiB
  u32 key;
  u32 extent;
  u32 generation;
  u32 layer;   // 0 in this version
  u64 origin;  // the space whose identity its pages carry
};
struct PageWant {
  u64 page;
  u64 min_version;
};
struct PageDirty {
  u64 page;
  u64 version;
  u32 crc32c;  // PageCrc32c; with kNoBulk over the identity alone (zero page)
  u32 bulk_index;
};
struct PageHave {
  u64 origin;
  u64 page;
  u64 version;
  u32 crc32c;
  u32 bulk_index;
  u32 code;  // fit::Code
  u32 layer;
};
struct PageAppend {
  u64 space;
  u64 epoch;
  u64 page;
  u64 version;
  u64 era;
  u32 crc32c;
  u32 bulk_index;
};
struct PageResult {
  u64 page;
  u64 stored_version;
  u32 code;   // fit::Code
  u32 level;  // reached: 0 home, 1 memory, 2 disk
};
struct TrimRange {
  u64 first_page;
  u64 page_count;
  u64 up_to_version;
  u64 era;  // 0 from the pnode, set by the home
};
struct OpenRequest {
  u64 space;
  u64 epoch;
  u64 owner_node;
  u64 owner_incarnation;
  u64 view;
  u64 parent_space;  // 0: no clone
  u64 parent_era;
  u32 count;
  u32 ack;
};
struct FenceReply {
  u64 epoch;
  u64 era;
  u64 view;
  u64 durable_batch_seq;
};

static_assert(sizeof(SpaceList) == 32 && sizeof(ListReply) == 16 && sizeof(AppendHead) == 16);
static_assert(sizeof(MapRequest) == 32 && sizeof(MapReply) == 16 && sizeof(ExtentGrant) == 40);
static_assert(sizeof(PageWant) == 16 && sizeof(PageDirty) == 24 && sizeof(PageHave) == 40 && sizeof(PageAppend) == 48);
static_assert(sizeof(PageResult) == 24 && sizeof(TrimRange) == 32 && sizeof(OpenRequest) == 64 && sizeof(FenceReply) == 32);
static_assert(sizeof(SpaceList) + kMaxTrimRanges * sizeof(TrimRange) <= 4096);
static_assert(sizeof(AppendHead) + kMaxPagesPerCall * sizeof(PageAppend) <= 4096);

}  // namespace ashlar::fit::wire
