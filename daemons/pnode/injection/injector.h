// Puts the helper into a program at its exec stop and takes out what the pnode needs (10-paging §5, steps 3–5). No path
// is opened inside the program, so chroots and namespaces don't matter; what is made there is pulled out by pidfd_getfd,
// and its numbers in the program are closed again: the program sees no foreign descriptor.
//
// What it does not do: UFFDIO_API and REGISTER. Their FORK event needs CAP_SYS_PTRACE, which the pnode has and the
// caller of `ashlar run` has not (uffd_setup.h).
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "daemons/pnode/injection/ptrace_session.h"

namespace ashlar::pnode {

struct InjectionPlan {
  std::uint32_t staging_pages = 0;  // 2 * kMaxMovePages … kMaxStagingPages
  std::uint32_t victim_slots = 0;   // 1 … kMaxVictimSlots
  int uffd_device = -1;             // number of an open /dev/userfaultfd in the program, closed after use; -1: none
};
constexpr std::uint32_t kMaxStagingPages = 1u << 20;
constexpr std::uint32_t kMaxVictimSlots = 1u << 26;

// Where things lie in the program. Adoption leaves all of it alone.
struct InjectedAddresses {
  std::uint64_t blob = 0;  // one page, r-x
  std::uint64_t control = 0;
  std::uint64_t victim = 0;
  std::uint64_t staging = 0;  // the only one that looks like a candidate: rw-p, anonymous
};

struct Injection {
  UniqueFd uffd;  // O_NONBLOCK; UFFDIO_API not called yet
  UniqueFd control;
  UniqueFd victim;
  UniqueFd move_event;
  UniqueFd unshare_event;
  UniqueFd pidfd;
  InjectedAddresses addresses;
  pid_t pid = 0;
  pid_t move_tid = 0;
  pid_t unshare_tid = 0;
};

// `session` has been through WaitForExec. On success the program still stands at its first instruction, registers
// restored, both helpers asleep and confined. FailedPrecondition: no right to a full-mode userfaultfd, with the fix.
// Unimplemented: not a 64-bit program. After an error the program must be killed, not detached.
absl::StatusOr<Injection> Inject(PtraceSession& session, const InjectionPlan& plan);

// Unimplemented for anything but a 64-bit x86 program, PermissionDenied for a setuid, setgid or file-capability one,
// which would silently run without its privilege. Of the program that `pid` executes now.
absl::Status CheckProgramFile(pid_t pid);

}  // namespace ashlar::pnode
