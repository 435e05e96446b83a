// The two helper threads that live in the program's address space: the blob. See helper_protocol.h for what they do.
//
// This file is compiled alone (see CMakeLists.txt) and linked to one flat, position-independent piece without
// relocations: no libc, no TLS, no globals, no PLT, no sanitizer. It runs as a raw clone inside a foreign program, so it
// may touch only the control area, staging, the victim area and its own text. Anything else could be a page that the
// owner has taken away, and the owner waits for this thread: both would wait for ever.
#include <asm/unistd.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

#include <cstddef>
#include <cstdint>

#include "daemons/pnode/injection/helper_protocol.h"
#include "daemons/pnode/injection/uffd_abi.h"

// Offset 0 of the blob. The injector puts clone's arguments into registers, r12 = control area, r13 = role, and steps
// over this one instruction; the new thread goes on from here with an empty stack (rsp = 16n), the parent never does.
// The same instruction serves the injector's other calls.
asm(R"(
  .section .text.entry, "ax", @progbits
  .globl HelperEntry
HelperEntry:
  syscall
  xor %ebp, %ebp
  mov %r12, %rdi
  mov %r13, %rsi
  call HelperMain
  ud2
  .text
)");

namespace ashlar::pnode {
namespace {

// errno.h's names are the libc's; these are the kernel's.
constexpr long kEinval = 22;
constexpr std::uint32_t kEagain = 11;
constexpr std::uint32_t kErange = 34;
constexpr std::uint64_t kPage = 4096;

inline long Syscall(long number, std::uint64_t a = 0, std::uint64_t b = 0, std::uint64_t c = 0, std::uint64_t d = 0,
                    std::uint64_t e = 0) {
  long result;
  register std::uint64_t r10 asm("r10") = d;
  register std::uint64_t r8 asm("r8") = e;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8)
               : "rcx", "r11", "memory");
  return result;
}
template <typename T>
std::uint64_t Address(T* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

inline void CopyPage(std::uint64_t to, std::uint64_t from) {
  std::uint64_t words = kPage / 8;
  asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(words) : : "memory");
}

inline std::uint32_t WaitForCommand(SharedWord& command, std::uint32_t last) {
  std::uint32_t now;
  while ((now = command.load(std::memory_order_acquire)) == last) {
    Syscall(__NR_futex, Address(&command), FUTEX_WAIT, last);
  }
  return now;
}

inline void Finish(SharedWord& done, SharedWord& owner_waits, std::uint32_t sequence, std::int32_t event_fd) {
  done.store(sequence, std::memory_order_seq_cst);
  if (owner_waits.load(std::memory_order_seq_cst) == 0) return;
  const std::uint64_t one = 1;
  Syscall(__NR_write, static_cast<std::uint64_t>(event_fd), Address(&one), sizeof(one));
}

// Empties staging. A plain MADV_DONTNEED would raise EVENT_REMOVE, and every COPY of the owner would get EAGAIN until
// it has read that; so the range leaves the userfaultfd for that moment.
void RecycleStaging(const HelperConstants& constants, MoveMailbox& box) {
  const auto uffd = static_cast<std::uint64_t>(constants.uffd);
  uffdio_register whole;
  whole.range.start = constants.staging_address;
  whole.range.len = constants.staging_pages * kPage;
  whole.mode = UFFDIO_REGISTER_MODE_MISSING;
  long error = Syscall(__NR_ioctl, uffd, UFFDIO_UNREGISTER, Address(&whole.range));
  if (error == 0) error = Syscall(__NR_madvise, whole.range.start, whole.range.len, MADV_DONTNEED);
  if (error == 0) error = Syscall(__NR_ioctl, uffd, UFFDIO_REGISTER, Address(&whole));
  if (error != 0) box.recycle_errno.store(static_cast<std::uint32_t>(-error), std::memory_order_relaxed);
  box.recycles.store(box.recycles.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  box.staging_used.store(0, std::memory_order_relaxed);
}

struct MoveRun {
  long error = 0;           // 0 or -errno of the call
  std::uint32_t moved = 0;  // pages, from the run's start; with an error too
};

MoveRun MovePages(const HelperConstants& constants, std::uint64_t source, std::uint32_t staging_index,
                  std::uint32_t count) {
  uffdio_move move;
  move.dst = constants.staging_address + staging_index * kPage;
  move.src = source;
  move.len = count * kPage;
  move.mode = UFFDIO_MOVE_MODE_DONTWAKE;
  move.move = 0;  // the kernel leaves it alone when it refuses early
  const long error = Syscall(__NR_ioctl, static_cast<std::uint64_t>(constants.uffd), UFFDIO_MOVE, Address(&move));
  if (error == 0) return {0, count};
  return {error, move.move > 0 ? static_cast<std::uint32_t>(static_cast<std::uint64_t>(move.move) / kPage) : 0};
}

// A partial MOVE says EAGAIN and hides why it stopped: go on at the first page that stayed to learn its own errno. A run
// over two VMAs is refused whole with EINVAL: it is then taken page by page.
void MoveBatch(const HelperConstants& constants, std::uint32_t count, MoveMailbox& box) {
  std::uint32_t used = box.staging_used.load(std::memory_order_relaxed);
  std::uint32_t single_until = 0;  // entries before this index go one by one
  for (std::uint32_t i = 0; i < count;) {
    if (box.entries[i].victim_slot >= constants.victim_slots) {
      box.entries[i++].result.store(kErange, std::memory_order_release);
      continue;
    }
    std::uint32_t end = i + 1;
    while (i >= single_until && end < count && box.entries[end].address == box.entries[end - 1].address + kPage &&
           box.entries[end].victim_slot < constants.victim_slots) {
      ++end;
    }
    const MoveRun run = MovePages(constants, box.entries[i].address, used, end - i);
    for (std::uint32_t k = 0; k < run.moved; ++k) {
      MoveEntry& entry = box.entries[i + k];
      CopyPage(constants.victim_address + entry.victim_slot * kPage, constants.staging_address + (used + k) * kPage);
      entry.result.store(0, std::memory_order_release);
    }
    used += run.moved;
    i += run.moved;
    if (run.moved != 0) continue;
    if (run.error == -kEinval && end - i > 1) {
      single_until = end;
    } else {
      box.entries[i++].result.store(run.error != 0 ? static_cast<std::uint32_t>(-run.error) : kEagain,
                                    std::memory_order_release);
    }
  }
  box.staging_used.store(used, std::memory_order_relaxed);
}

[[noreturn]] void RunMover(HelperControl& control) {
  const HelperConstants constants = control.constants;
  MoveMailbox& box = control.move;
  for (std::uint32_t last = 0;;) {
    last = WaitForCommand(box.command, last);
    const std::uint32_t count = box.count < kMaxMovePages ? box.count : kMaxMovePages;
    MoveBatch(constants, count, box);
    Finish(box.done, box.owner_waits, last, constants.move_event_fd);
    if (box.staging_used.load(std::memory_order_relaxed) + kMaxMovePages > constants.staging_pages) {
      RecycleStaging(constants, box);
    }
  }
}

// MADV_POPULATE_WRITE breaks copy-on-write without changing a byte, and gives an error where a store would kill. It may
// block on a fault that the owner must serve, which is why it is not the mover's work.
[[noreturn]] void RunUnsharer(HelperControl& control) {
  const HelperConstants constants = control.constants;
  UnshareMailbox& box = control.unshare;
  for (std::uint32_t last = 0;;) {
    last = WaitForCommand(box.command, last);
    const std::uint32_t count = box.count < kMaxUnsharePages ? box.count : kMaxUnsharePages;
    for (std::uint32_t i = 0; i < count; ++i) {
      const long error = Syscall(__NR_madvise, box.entries[i].address, kPage, MADV_POPULATE_WRITE);
      box.entries[i].result.store(static_cast<std::uint32_t>(-error), std::memory_order_release);
    }
    Finish(box.done, box.owner_waits, last, constants.unshare_event_fd);
  }
}

// --- setting up: what this thread shares with the program is its memory and nothing else ------------------------------

// The thread got a copy of the program's descriptors. Left open they would keep the program's pipes from ending.
long CloseAllBut(std::int32_t a, std::int32_t b) {
  const auto low = static_cast<std::uint64_t>(a < b ? a : b);
  const auto high = static_cast<std::uint64_t>(a < b ? b : a);
  long error = 0;
  if (low > 0) error = Syscall(__NR_close_range, 0, low - 1, 0);
  if (error == 0 && high > low + 1) error = Syscall(__NR_close_range, low + 1, high - 1, 0);
  if (error == 0) error = Syscall(__NR_close_range, high + 1, ~0u, 0);
  return error;
}

long DropCapabilities() {
  __user_cap_header_struct header;
  header.version = _LINUX_CAPABILITY_VERSION_3;
  header.pid = 0;
  __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
  for (auto& part : none) part.effective = part.permitted = part.inheritable = 0;
  return Syscall(__NR_capset, Address(&header), Address(none));
}

#define ASHLAR_ALLOW_IF(value) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
// Everything not listed kills the process: a helper that does it was taken over.
const sock_filter kAllowList[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
    ASHLAR_ALLOW_IF(__NR_futex),
    ASHLAR_ALLOW_IF(__NR_madvise),
    ASHLAR_ALLOW_IF(__NR_write),  // only the eventfd and the userfaultfd are open
    ASHLAR_ALLOW_IF(__NR_restart_syscall),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_ioctl, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])),
    ASHLAR_ALLOW_IF(static_cast<__u32>(UFFDIO_MOVE)),
    ASHLAR_ALLOW_IF(static_cast<__u32>(UFFDIO_REGISTER)),
    ASHLAR_ALLOW_IF(static_cast<__u32>(UFFDIO_UNREGISTER)),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};
#undef ASHLAR_ALLOW_IF

long InstallAllowList() {
  sock_fprog program;
  program.len = sizeof(kAllowList) / sizeof(kAllowList[0]);
  program.filter = const_cast<sock_filter*>(kAllowList);
  return Syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, 0, Address(&program));
}

std::uint32_t SetUp(const HelperConstants& constants, bool mover) {
  const std::uint64_t all_signals = ~std::uint64_t{0};
  long error = Syscall(__NR_rt_sigprocmask, 2 /* SIG_SETMASK */, Address(&all_signals), 0, sizeof(all_signals));
  if (error != 0) return HelperFailure(HelperStep::kSignals, static_cast<std::uint32_t>(-error));
  // "ashlar-mover", "ashlar-unshare": as immediates, not data.
  const std::uint64_t name[2] = {mover ? 0x6d2d72616c687361u : 0x752d72616c687361u, mover ? 0x7265766fu : 0x65726168736eu};
  Syscall(__NR_prctl, PR_SET_NAME, Address(name));
  error = mover ? CloseAllBut(constants.uffd, constants.move_event_fd)
                : CloseAllBut(constants.unshare_event_fd, constants.unshare_event_fd);
  if (error != 0) return HelperFailure(HelperStep::kDescriptors, static_cast<std::uint32_t>(-error));
  error = DropCapabilities();
  if (error != 0) return HelperFailure(HelperStep::kCapabilities, static_cast<std::uint32_t>(-error));
  error = InstallAllowList();
  if (error != 0) return HelperFailure(HelperStep::kSeccomp, static_cast<std::uint32_t>(-error));
  return kHelperReady;
}

}  // namespace

extern "C" [[noreturn]] __attribute__((used)) void HelperMain(HelperControl* control, std::uint64_t role) {
  const bool mover = role == kHelperRoleMove;
  const std::uint32_t outcome = SetUp(control->constants, mover);
  SharedWord& ready = mover ? control->move.ready : control->unshare.ready;
  ready.store(outcome, std::memory_order_seq_cst);
  Syscall(__NR_futex, Address(&ready), FUTEX_WAKE, 1);
  if (mover) RunMover(*control);
  RunUnsharer(*control);
}

}  // namespace ashlar::pnode
