#include "daemons/pnode/injection/injector.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/ids.h"
#include "common/base/status.h"
#include "daemons/pnode/injection/helper_blob.h"
#include "daemons/pnode/injection/helper_protocol.h"
#include "daemons/pnode/injection/uffd_abi.h"

namespace ashlar::pnode {
namespace {

constexpr std::size_t kScratchOffset = 3840;  // of the blob's page, while it is still writable
constexpr std::uint64_t kHelperStartTimeoutNs = 5'000'000'000;

constexpr char kUffdFix[] =
    "no right to a full-mode userfaultfd. Give the pnode's user /dev/userfaultfd by a udev rule\n"
    "  KERNEL==\"userfaultfd\", SUBSYSTEM==\"misc\", GROUP=\"ashlar\", MODE=\"0660\"\n"
    "or the program CAP_SYS_PTRACE (run as root), or set sysctl vm.unprivileged_userfaultfd=1";

std::span<const std::byte> BytesOf(const char* text) {
  return {reinterpret_cast<const std::byte*>(text), std::strlen(text) + 1};
}

// One injection in progress. `numbers_` are descriptors in the program that must not outlive it.
class Injector {
 public:
  Injector(PtraceSession& session, const InjectionPlan& plan) : session_(session), plan_(plan) {}

  absl::StatusOr<Injection> Run() {
    ASHLAR_RETURN_IF_ERROR(session_.Begin());
    ASHLAR_RETURN_IF_ERROR(MapBlob());
    ASHLAR_RETURN_IF_ERROR(MakeAreas());
    ASHLAR_RETURN_IF_ERROR(ProtectBlob());
    ASHLAR_RETURN_IF_ERROR(MakeDescriptors());
    ASHLAR_RETURN_IF_ERROR(PullOut());
    ASHLAR_RETURN_IF_ERROR(StartHelpers());
    ASHLAR_RETURN_IF_ERROR(CloseNumbers());
    ASHLAR_RETURN_IF_ERROR(session_.Restore());
    return std::move(injection_);
  }

 private:
  absl::Status MapBlob() {
    ASHLAR_ASSIGN_OR_RETURN(addresses().blob,
                            session_.Call("map the helper", SYS_mmap,
                                          {0, kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                                           ~std::uint64_t{0}, 0}));
    const std::span<const std::byte> blob = HelperBlob();
    ASHLAR_CHECK(blob.size() <= kScratchOffset, "the helper fits its page; size={}", blob.size());
    return session_.Write(addresses().blob, blob);
  }

  absl::Status ProtectBlob() {
    ASHLAR_RETURN_IF_ERROR(session_
                               .Call("protect the helper", SYS_mprotect,
                                     {addresses().blob, kPageBytes, PROT_READ | PROT_EXEC})
                               .status());
    return session_.UseInstructionAt(addresses().blob);
  }

  // A memfd of the program, mapped shared; not inherited by fork, since a child gets helpers of its own.
  absl::Status MakeArea(const char* name, std::size_t size, std::uint64_t* address, int* number) {
    const std::uint64_t scratch = addresses().blob + kScratchOffset;
    ASHLAR_RETURN_IF_ERROR(session_.Write(scratch, BytesOf(name)));
    ASHLAR_ASSIGN_OR_RETURN(*number, Number("memfd_create", SYS_memfd_create,
                                            {scratch, MFD_CLOEXEC | MFD_ALLOW_SEALING}));
    const auto fd = static_cast<std::uint64_t>(*number);
    ASHLAR_RETURN_IF_ERROR(
        session_.Call(absl::StrCat("size ", name, " (ulimit -f?)"), SYS_ftruncate, {fd, size}).status());
    ASHLAR_ASSIGN_OR_RETURN(*address, session_.Call(absl::StrCat("map ", name, " (ulimit -v?)"), SYS_mmap,
                                                    {0, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0}));
    return session_.Call("madvise", SYS_madvise, {*address, size, MADV_DONTFORK}).status();
  }

  absl::Status MakeAreas() {
    ASHLAR_RETURN_IF_ERROR(MakeArea("ashlar-control", sizeof(HelperControl), &addresses().control, &control_));
    ASHLAR_RETURN_IF_ERROR(MakeArea("ashlar-victim", plan_.victim_slots * kPageBytes, &addresses().victim, &victim_));
    const std::size_t staging_bytes = plan_.staging_pages * kPageBytes;
    ASHLAR_ASSIGN_OR_RETURN(addresses().staging,
                            session_.Call("map staging (ulimit -v?)", SYS_mmap,
                                          {0, staging_bytes, PROT_READ | PROT_WRITE,
                                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, ~std::uint64_t{0}, 0}));
    return session_.Call("madvise", SYS_madvise, {addresses().staging, staging_bytes, MADV_DONTFORK}).status();
  }

  absl::StatusOr<int> Number(std::string_view what, long call, std::initializer_list<std::uint64_t> arguments) {
    ASHLAR_ASSIGN_OR_RETURN(const std::uint64_t fd, session_.Call(what, call, arguments));
    numbers_.push_back(static_cast<int>(fd));
    return static_cast<int>(fd);
  }

  absl::Status MakeDescriptors() {
    constexpr std::uint64_t kFlags = O_CLOEXEC | O_NONBLOCK;
    absl::StatusOr<int> uffd;
    if (plan_.uffd_device >= 0) {
      numbers_.push_back(plan_.uffd_device);
      uffd = Number("userfaultfd", SYS_ioctl,
                    {static_cast<std::uint64_t>(plan_.uffd_device), USERFAULTFD_IOC_NEW, kFlags});
    } else {
      uffd = Number("userfaultfd", SYS_userfaultfd, {kFlags});
      if (absl::IsPermissionDenied(uffd.status())) return absl::FailedPreconditionError(kUffdFix);
    }
    if (!uffd.ok()) return uffd.status();
    uffd_ = *uffd;
    ASHLAR_ASSIGN_OR_RETURN(move_event_, Number("eventfd", SYS_eventfd2, {0, EFD_CLOEXEC | EFD_NONBLOCK}));
    ASHLAR_ASSIGN_OR_RETURN(unshare_event_, Number("eventfd", SYS_eventfd2, {0, EFD_CLOEXEC | EFD_NONBLOCK}));
    return absl::OkStatus();
  }

  absl::Status PullOut() {
    const pid_t pid = session_.pid();
    injection_.pid = pid;
    injection_.pidfd = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!injection_.pidfd.valid()) return ErrnoStatus(errno, absl::StrCat("pidfd of process ", pid));
    const struct {
      int number;
      UniqueFd* into;
    } wanted[] = {{uffd_, &injection_.uffd},
                  {control_, &injection_.control},
                  {victim_, &injection_.victim},
                  {move_event_, &injection_.move_event},
                  {unshare_event_, &injection_.unshare_event}};
    for (const auto& each : wanted) {
      *each.into = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_getfd, injection_.pidfd.get(), each.number, 0)));
      if (!each.into->valid()) return ErrnoStatus(errno, absl::StrCat("pidfd_getfd from process ", pid));
    }
    // Nobody can shrink what the pnode reads: no SIGBUS there.
    for (const UniqueFd* memfd : {&injection_.control, &injection_.victim}) {
      if (::fcntl(memfd->get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
        return ErrnoStatus(errno, "seal a shared area");
      }
    }
    return absl::OkStatus();
  }

  absl::Status StartHelpers() {
    void* mapped = ::mmap(nullptr, sizeof(HelperControl), PROT_READ | PROT_WRITE, MAP_SHARED,
                          injection_.control.get(), 0);
    if (mapped == MAP_FAILED) return ErrnoStatus(errno, "map the control area");
    auto* control = static_cast<HelperControl*>(mapped);
    control->constants = {.magic = kHelperMagic,
                          .version = kHelperVersion,
                          .control_bytes = sizeof(HelperControl),
                          .staging_address = addresses().staging,
                          .victim_address = addresses().victim,
                          .staging_pages = plan_.staging_pages,
                          .victim_slots = plan_.victim_slots,
                          .uffd = uffd_,
                          .move_event_fd = move_event_,
                          .unshare_event_fd = unshare_event_,
                          .reserved = 0};
    absl::Status status = StartHelper(control->move.ready, offsetof(HelperControl, move_stack), kHelperRoleMove,
                                      &injection_.move_tid);
    if (status.ok()) {
      status = StartHelper(control->unshare.ready, offsetof(HelperControl, unshare_stack), kHelperRoleUnshare,
                           &injection_.unshare_tid);
    }
    ::munmap(mapped, sizeof(HelperControl));
    return status;
  }

  // A raw thread: no CLONE_FILES, no CLONE_FS, no libc's knowledge of it (glibc's fork walks the stacks it made).
  absl::Status StartHelper(SharedWord& ready, std::size_t stack_offset, std::uint64_t role, pid_t* tid) {
    ASHLAR_ASSIGN_OR_RETURN(
        *tid, session_.Clone("start a helper thread (ulimit -u?)",
                             {.flags = CLONE_VM | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM,
                              .stack_end = addresses().control + stack_offset + kHelperStackBytes,
                              .r12 = addresses().control,
                              .r13 = role}));
    const std::uint64_t deadline_ns = MonotonicNs() + kHelperStartTimeoutNs;
    std::uint32_t seen;
    while ((seen = ready.load(std::memory_order_acquire)) == 0) {
      if (MonotonicNs() > deadline_ns) return absl::DeadlineExceededError("the helper thread does not start");
      const timespec slice{.tv_sec = 0, .tv_nsec = 10'000'000};
      ::syscall(SYS_futex, &ready, FUTEX_WAIT, 0, &slice, nullptr, 0);
    }
    if (seen == kHelperReady) return absl::OkStatus();
    return ErrnoStatus(static_cast<int>(seen & 0xffff),
                       absl::StrCat("set up the helper thread, step ", (seen >> 16) & 0x7fff));
  }

  absl::Status CloseNumbers() {
    for (const int number : numbers_) {
      ASHLAR_RETURN_IF_ERROR(session_.Call("close", SYS_close, {static_cast<std::uint64_t>(number)}).status());
    }
    return absl::OkStatus();
  }

  InjectedAddresses& addresses() { return injection_.addresses; }

  PtraceSession& session_;
  const InjectionPlan& plan_;
  Injection injection_;
  std::vector<int> numbers_;
  int control_ = -1;
  int victim_ = -1;
  int uffd_ = -1;
  int move_event_ = -1;
  int unshare_event_ = -1;
};

}  // namespace

absl::StatusOr<Injection> Inject(PtraceSession& session, const InjectionPlan& plan) {
  if (plan.staging_pages < 2 * kMaxMovePages || plan.staging_pages > kMaxStagingPages) {
    return absl::InvalidArgumentError(absl::StrCat("staging of ", plan.staging_pages, " pages"));
  }
  if (plan.victim_slots < 1 || plan.victim_slots > kMaxVictimSlots) {
    return absl::InvalidArgumentError(absl::StrCat("victim area of ", plan.victim_slots, " slots"));
  }
  return Injector(session, plan).Run();
}

absl::Status CheckProgramFile(pid_t pid) {
  const std::string link = absl::StrCat("/proc/", pid, "/exe");
  char path[4096];
  const ssize_t length = ::readlink(link.c_str(), path, sizeof(path));
  const std::string name = length > 0 ? std::string(path, static_cast<std::size_t>(length)) : link;
  struct stat info;
  if (::stat(link.c_str(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("look at ", name));
  const bool setgid = (info.st_mode & S_ISGID) != 0 && (info.st_mode & S_IXGRP) != 0;
  if ((info.st_mode & S_ISUID) != 0 || setgid || ::getxattr(link.c_str(), "security.capability", nullptr, 0) > 0) {
    return absl::PermissionDeniedError(
        absl::StrCat(name, " is setuid, setgid or has file capabilities; it would run without that privilege. Run it "
                           "without `ashlar run`"));
  }
  // A file that its user may execute but not read is checked by its code segment alone (PtraceSession::Begin).
  UniqueFd file(::open(link.c_str(), O_RDONLY | O_CLOEXEC));
  Elf64_Ehdr header{};
  if (file.valid() && ::pread(file.get(), &header, sizeof(header), 0) == sizeof(header) &&
      (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64)) {
    return absl::UnimplementedError(
        absl::StrCat(name, " is not a 64-bit x86 program; only those can run on remote memory. Run it without `ashlar run`"));
  }
  return absl::OkStatus();
}

}  // namespace ashlar::pnode
