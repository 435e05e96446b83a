// The control area: what the pnode (the space's owner thread) and the two helper threads inside the program say to each
// other. It is a memfd made in the program, mapped MAP_SHARED by both, sealed against resizing; the blob (helper.cc) and
// the pnode are built from this one header. 10-paging §4, §9.
//
// Trust: the program can write every byte of it, so the pnode treats all it reads from here as hostile: it keeps its own
// copy of addresses and slots, takes from an entry only `result`, and never indexes by anything stored here. It never
// writes here anything that another program may not know.
//
// Who writes what, and when
//   constants   the injector, before the helpers exist; never again. The pnode uses the values it got with Attach, not these.
//   move        MoveMailbox, between the owner and the command helper.
//     1 owner    entries[0, count).{address, victim_slot}, result = kResultPending, then count          (plain or relaxed)
//     2 owner    command = next sequence number (previous + 1, wraps, starts at 1)                       (seq_cst)
//     3 owner    FUTEX_WAKE (not _PRIVATE) on command
//     4 helper   wakes, reads command (acquire), then count and entries. It moves neighbouring entries (address rises by
//                one page) in one MOVE; victim slots may be in any order. Each page's bytes are copied to its victim slot,
//                then entry.result = 0, or the page's own errno and the slot is untouched            (release, per entry)
//     5 helper   staging_used = …, then done = the sequence number                                       (seq_cst)
//     6 helper   if owner_waits != 0: adds 1 to the eventfd                                          (seq_cst load)
//     7 helper   recycles staging if the next batch may not fit; the next batch waits that long
//   To sleep, the owner stores owner_waits = 1 (seq_cst), looks at done once more (seq_cst), then polls the eventfd; it
//   clears owner_waits and drains the eventfd after waking. A stray count in the eventfd is harmless: look at done.
//   One batch at a time: command - done is 0 or 1. A stopped program (SIGSTOP) stops its helpers: a batch may stay open
//   for any time; after the process is gone (pidfd) it stays open for ever, and the results tell which pages were moved.
//   unshare     UnshareMailbox, between the owner and the un-share helper: the same steps without slots; result = 0 when
//               the page is the program's own again. This helper may fault (it breaks copy-on-write by writing), so the
//               owner must go on serving faults meanwhile, and its batches may stay open while MOVE batches pass.
//
// Errors in `result`: 0 done | errno of UFFDIO_MOVE (EBUSY pinned or shared, EAGAIN the map is changing: read events,
// EINVAL the VMA can't be moved from, ENOENT nothing there, …) | ERANGE: victim_slot is outside the victim area |
// kResultPending: not reached.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace ashlar::pnode {

constexpr std::uint64_t kHelperMagic = 0x31504c48'52485341;  // "ASHRHLP1" in memory
constexpr std::uint32_t kHelperVersion = 1;
constexpr std::uint32_t kMaxMovePages = 32;     // the drain rule (10 §8) keeps events unread this long: so it is small
constexpr std::uint32_t kMaxUnsharePages = 32;
constexpr std::uint32_t kResultPending = 0xffff'ffff;
constexpr std::size_t kHelperStackBytes = 16 << 10;

// r13 of a new helper thread (see HelperEntry in helper.cc).
constexpr std::uint64_t kHelperRoleMove = 1;
constexpr std::uint64_t kHelperRoleUnshare = 2;

// `ready`: the injector lets the program go only when both helpers said kHelperReady.
constexpr std::uint32_t kHelperReady = 1;
enum class HelperStep : std::uint32_t { kSignals = 1, kDescriptors = 2, kCapabilities = 3, kSeccomp = 4 };
constexpr std::uint32_t HelperFailure(HelperStep step, std::uint32_t error) {
  return 0x8000'0000u | (static_cast<std::uint32_t>(step) << 16) | (error & 0xffff);
}

using SharedWord = std::atomic<std::uint32_t>;
static_assert(SharedWord::is_always_lock_free && sizeof(SharedWord) == 4, "shared between processes, used as a futex");

struct HelperConstants {
  std::uint64_t magic;            // kHelperMagic
  std::uint32_t version;          // kHelperVersion
  std::uint32_t control_bytes;    // sizeof(HelperControl)
  std::uint64_t staging_address;  // in the program; registered MISSING with the uffd; never adopted
  std::uint64_t victim_address;   // in the program
  std::uint32_t staging_pages;    // >= 2 * kMaxMovePages. Moved pages lie here until it is recycled: count it on the limit
  std::uint32_t victim_slots;     // each kPageBytes
  std::int32_t uffd;              // numbers in the helpers' own descriptor table
  std::int32_t move_event_fd;
  std::int32_t unshare_event_fd;
  std::uint32_t reserved;         // 0
};
static_assert(sizeof(HelperConstants) == 56);

struct MoveEntry {
  std::uint64_t address;      // in the program, page-aligned
  std::uint32_t victim_slot;  // < victim_slots
  SharedWord result;
};
static_assert(sizeof(MoveEntry) == 16);

struct MoveMailbox {
  SharedWord command;  // written by the owner; futex
  std::uint32_t count;  // 1..kMaxMovePages
  SharedWord owner_waits;
  std::uint32_t reserved0[13];
  SharedWord done;            // written by the helper
  SharedWord staging_used;    // pages now resident in staging
  SharedWord recycles;        // how often it was emptied
  SharedWord recycle_errno;   // 0; else staging is lost, every later MOVE will answer EINVAL: the space can't evict
  SharedWord ready;           // futex: 0 until the helper's thread is set up, then kHelperReady or HelperFailure(…)
  std::uint32_t reserved1[11];
  MoveEntry entries[kMaxMovePages];
};
static_assert(sizeof(MoveMailbox) == 128 + kMaxMovePages * 16);

struct UnshareEntry {
  std::uint64_t address;
  SharedWord result;
  std::uint32_t reserved;
};
static_assert(sizeof(UnshareEntry) == 16);

struct UnshareMailbox {
  SharedWord command;
  std::uint32_t count;  // 1..kMaxUnsharePages
  SharedWord owner_waits;
  std::uint32_t reserved0[13];
  SharedWord done;
  SharedWord ready;  // as MoveMailbox::ready
  std::uint32_t reserved1[14];
  UnshareEntry entries[kMaxUnsharePages];
};
static_assert(sizeof(UnshareMailbox) == 128 + kMaxUnsharePages * 16);

struct HelperControl {
  alignas(64) HelperConstants constants;
  alignas(64) MoveMailbox move;
  alignas(64) UnshareMailbox unshare;
  // Stacks lie in shared memory, so they are never adopted and never copied by fork. They grow down.
  alignas(4096) std::byte move_stack[kHelperStackBytes];
  alignas(4096) std::byte unshare_stack[kHelperStackBytes];
};
static_assert(offsetof(HelperControl, move) == 64);
static_assert(offsetof(HelperControl, unshare) == 64 + 640);
static_assert(offsetof(HelperControl, move_stack) == 4096);
static_assert(sizeof(HelperControl) == 4096 + 2 * kHelperStackBytes);

}  // namespace ashlar::pnode
