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
  kFenceEpoch = 9,    // pnode → snode   FenceRequest → FenceReply
  kRecoverRead = 10,  // p → s, m → s    RecoverRequest + u64 page[<= 64] → ListReply + PageHave[<= 64], bulk
  kOpenSpace = 11,    // mnode → snode   OpenRequest + SnodeRef[<= 8] → FenceReply
  kCompare = 12,      // p → m, m → s    CompareRequest (count 0) → ListReply + PageMark[<= 128]; an mnode knows kPages only
  kSpaceState = 13,   // p → m, m → s    SpaceList (count 0) → SpaceStateReply + SnodeRef[<= 8] + BadPage[<= 32]
};

constexpr u32 kNoBulk = 0xFFFFFFFFu;  // bulk_index: no bytes (a zero page, or an error)
constexpr u32 kMaxPagesPerCall = 64;
constexpr u32 kMaxTrimRanges = 126;
constexpr u32 kMaxMarks = 128;
constexpr u32 kMaxSnodeRefs = 8;
constexpr u32 kMaxBadPages = 32;
constexpr u64 kNoNextPage = ~u64{0};  // ListReply.next: nothing behind

struct SpaceList {
  u64 space;
  u64 epoch;
  u64 view;   // newest replica view the caller knows
  u32 count;  // items behind
  u32 flags;  // kWriteBack: low byte = AckLevel wanted; kDestroySpace: kDestroyHereOnly
};
constexpr u32 kDestroyHereOnly = 2;   // p → m: the space has another home now, the snodes keep it
constexpr u32 kCompareFilling = 1;    // ListReply.flags of an mnode: more pages of that extent are on their way from the snodes
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
// MapRequest.flags: either kMapThere alone, or kMapMake, with kMapFill if the extents may have had pages at an earlier home
// (a new one is then filled from the storage nodes), with kMapFillAgain to fill one once more that is there.
constexpr u32 kMapMake = 1, kMapThere = 2, kMapFill = 4, kMapFillAgain = 8;
struct MapRequest {
  u64 space;
  u64 epoch;
  u64 first_page;  // on an extent boundary
  u32 extents;     // 0: only raises the epoch (and makes the space known)
  u32 flags;       // kMap…
};
struct MapReply {
  u64 pool_incarnation;
  u32 count;
  u32 free_extents;  // left in the pool
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
struct SnodeRef {
  u64 node;
  u32 state;  // 1 copying, 2 current, 3 former
  u32 reserved;
};
struct FenceRequest {
  u64 space;
  u64 epoch;
  u64 owner_node;  // the caller itself
  u64 owner_incarnation;
};
struct FenceReply {
  u64 epoch;
  u64 era;
  u64 view;
  u64 durable_batch_seq;
};
// A scan stays inside the 4 MiB extent of first_page, in page order; `next` is where to go on in it, behind its end the
// first page of the next extent of which something is kept, or kNoNextPage. A list is answered item by item, next = 0.
enum class RecoverMode : u32 { kList = 1, kScan = 2 };
struct RecoverRequest {
  u64 space;
  u64 epoch;
  u64 first_page;  // scan
  u32 count;       // list: pages behind; scan: pages wanted, 1 … 64
  u32 mode;
};
// Extents: one PageMark per extent of which something is kept, from that of first_page on: page = its first page,
// version = pages kept of it, crc32c and reserved = low and high half of MarksHash over its pages (compare.h).
// Pages: what is kept of the extent of first_page, from that page on; `next` inside that extent, or kNoNextPage.
enum class CompareMode : u32 { kExtents = 1, kPages = 2 };
struct CompareRequest {
  u64 space;
  u64 epoch;
  u64 first_page;
  u32 count;  // 0
  u32 mode;
};
struct PageMark {
  u64 page;
  u64 version;
  u32 crc32c;
  u32 reserved;
};
struct BadPage {  // its newest acknowledged version cannot be read here any more: send it again
  u64 space;
  u64 page;
  u64 version;
};
constexpr u32 kStateUnknownLoss = 1;  // pages were lost that cannot be named: only a full Compare tells which
struct SpaceStateReply {
  u64 epoch;  // in force; with kStaleEpoch nothing else counts
  u64 view;
  u32 count;      // SnodeRefs behind
  u32 bad_pages;  // BadPages behind those; more may follow when these are repaired
  u32 flags;      // kState…
  u32 reserved;
};

static_assert(sizeof(SpaceList) == 32 && sizeof(ListReply) == 16 && sizeof(AppendHead) == 16);
static_assert(sizeof(MapRequest) == 32 && sizeof(MapReply) == 16 && sizeof(ExtentGrant) == 40);
static_assert(sizeof(PageWant) == 16 && sizeof(PageDirty) == 24 && sizeof(PageHave) == 40 && sizeof(PageAppend) == 48);
static_assert(sizeof(PageResult) == 24 && sizeof(TrimRange) == 32 && sizeof(OpenRequest) == 64 && sizeof(FenceReply) == 32);
static_assert(sizeof(SnodeRef) == 16 && sizeof(FenceRequest) == 32 && sizeof(RecoverRequest) == 32);
static_assert(sizeof(CompareRequest) == 32 && sizeof(PageMark) == 24 && sizeof(BadPage) == 24 && sizeof(SpaceStateReply) == 32);
static_assert(sizeof(CompareRequest) + kMaxMarks * sizeof(PageMark) <= 4096);
static_assert(sizeof(SpaceList) + kMaxTrimRanges * sizeof(TrimRange) <= 4096);
static_assert(sizeof(AppendHead) + kMaxPagesPerCall * sizeof(PageAppend) <= 4096);

}  // namespace ashlar::fit::wire
