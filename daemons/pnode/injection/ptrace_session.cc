#include "daemons/pnode/injection/ptrace_session.h"

#include <elf.h>
#include <errno.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include <fmt/core.h>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status.h"

namespace ashlar::pnode {
namespace {

constexpr unsigned long long kCode64 = 0x33;  // user code segment of a 64-bit program
constexpr long kSyscallBytes = 0x050f;        // 0f 05, little-endian
constexpr int kSyscallStop = SIGTRAP | 0x80;  // PTRACE_O_TRACESYSGOOD

// Everything but SIGTRAP, which ends our steps. SIGKILL and SIGSTOP can't be blocked.
constexpr std::uint64_t kMaskDuringInjection = ~(std::uint64_t{1} << (SIGTRAP - 1));

absl::StatusOr<int> WaitForStop(pid_t pid) {
  for (;;) {
    int status = 0;
    const pid_t got = ::waitpid(pid, &status, __WALL);
    if (got == pid) return status;
    if (errno != EINTR) return ErrnoStatus(errno, absl::StrCat("wait for process ", pid));
  }
}

absl::Status Resume(pid_t pid, enum __ptrace_request how, int signal) {
  if (::ptrace(how, pid, nullptr, static_cast<long>(signal)) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("ptrace: resume process ", pid));
}

bool StopsProcess(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

}  // namespace

absl::StatusOr<PtraceSession> PtraceSession::Seize(pid_t pid) {
  const long options = PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD;
  if (::ptrace(PTRACE_SEIZE, pid, nullptr, options) != 0) {
    return ErrnoStatus(errno, absl::StrCat("ptrace: seize process ", pid,
                                           errno == EPERM ? " (is `ashlar run` itself traced, or ptrace forbidden by "
                                                            "kernel.yama.ptrace_scope=3 or a container?)"
                                                          : ""));
  }
  return PtraceSession(pid);
}

PtraceSession::PtraceSession(PtraceSession&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)),
      saved_(other.saved_),
      saved_mask_(other.saved_mask_),
      saved_valid_(other.saved_valid_),
      instruction_(other.instruction_),
      borrowed_at_(other.borrowed_at_),
      borrowed_word_(other.borrowed_word_),
      held_signals_(std::move(other.held_signals_)) {}

PtraceSession::~PtraceSession() {
  if (pid_ >= 0) ::ptrace(PTRACE_DETACH, pid_, nullptr, nullptr);
}

absl::StatusOr<std::optional<int>> PtraceSession::WaitForExec() {
  for (;;) {
    ASHLAR_ASSIGN_OR_RETURN(const int status, WaitForStop(pid_));
    if (!WIFSTOPPED(status)) {
      pid_ = -1;
      return status;
    }
    const int signal = WSTOPSIG(status);
    const int event = status >> 16;
    if (event == PTRACE_EVENT_EXEC) {
      // Still inside execve, whose end would overwrite rax: go on to its exit stop.
      ASHLAR_RETURN_IF_ERROR(Resume(pid_, PTRACE_SYSCALL, 0));
    } else if (signal == kSyscallStop) {
      return std::nullopt;
    } else if (event == PTRACE_EVENT_STOP) {
      ASHLAR_RETURN_IF_ERROR(Resume(pid_, StopsProcess(signal) ? PTRACE_LISTEN : PTRACE_CONT, 0));
    } else {
      ASHLAR_RETURN_IF_ERROR(Resume(pid_, PTRACE_CONT, signal));
    }
  }
}

absl::Status PtraceSession::Begin() {
  ASHLAR_CHECK(!saved_valid_, "one Begin per Restore");
  if (::ptrace(PTRACE_GETREGS, pid_, nullptr, &saved_) != 0) return ErrnoStatus(errno, "ptrace: read registers");
  if (::ptrace(PTRACE_GETSIGMASK, pid_, sizeof(saved_mask_), &saved_mask_) != 0) {
    return ErrnoStatus(errno, "ptrace: read the signal mask");
  }
  saved_valid_ = true;
  if (!is_64bit()) return absl::UnimplementedError("a 32-bit program can't run on remote memory");
  std::uint64_t mask = kMaskDuringInjection;
  if (::ptrace(PTRACE_SETSIGMASK, pid_, sizeof(mask), &mask) != 0) {
    return ErrnoStatus(errno, "ptrace: set the signal mask");
  }
  // An aligned word never crosses into a page that may not be mapped.
  const std::uint64_t at = saved_.rip & ~std::uint64_t{7};
  errno = 0;
  borrowed_word_ = ::ptrace(PTRACE_PEEKTEXT, pid_, at, nullptr);
  if (errno != 0) return ErrnoStatus(errno, "ptrace: read the program's text");
  if (::ptrace(PTRACE_POKETEXT, pid_, at, (borrowed_word_ & ~0xffffl) | kSyscallBytes) != 0) {
    return ErrnoStatus(errno, "ptrace: write the program's text");
  }
  borrowed_at_ = instruction_ = at;
  return absl::OkStatus();
}

bool PtraceSession::is_64bit() const { return saved_.cs == kCode64; }

absl::Status PtraceSession::GiveTextBack() {
  if (borrowed_at_ == 0) return absl::OkStatus();
  if (::ptrace(PTRACE_POKETEXT, pid_, borrowed_at_, borrowed_word_) != 0) {
    return ErrnoStatus(errno, "ptrace: restore the program's text");
  }
  borrowed_at_ = 0;
  return absl::OkStatus();
}

absl::Status PtraceSession::UseInstructionAt(std::uint64_t address) {
  instruction_ = address;
  return GiveTextBack();
}

// Runs the one instruction at registers.rip. A signal that can't be blocked (SIGSTOP) may stop the program before or
// after it: rip tells which.
absl::StatusOr<user_regs_struct> PtraceSession::Step(const user_regs_struct& registers, std::string_view what) {
  if (::ptrace(PTRACE_SETREGS, pid_, nullptr, &registers) != 0) return ErrnoStatus(errno, what);
  for (;;) {
    if (::ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) != 0) return ErrnoStatus(errno, what);
    ASHLAR_ASSIGN_OR_RETURN(const int status, WaitForStop(pid_));
    if (!WIFSTOPPED(status)) {
      pid_ = -1;
      return absl::AbortedError(fmt::format("{}: the program was killed while it was prepared", what));
    }
    user_regs_struct now;
    if (::ptrace(PTRACE_GETREGS, pid_, nullptr, &now) != 0) return ErrnoStatus(errno, what);
    const int signal = WSTOPSIG(status);
    if (signal != SIGTRAP && status >> 16 == 0) held_signals_.push_back(signal);
    if (now.rip != registers.rip) return now;
    if (signal == SIGTRAP && status >> 16 == 0) {
      return absl::InternalError(fmt::format("{}: stopped without running the call", what));
    }
  }
}

absl::StatusOr<std::uint64_t> PtraceSession::Call(std::string_view what, long number,
                                                  std::initializer_list<std::uint64_t> arguments) {
  ASHLAR_CHECK(saved_valid_ && arguments.size() <= 6, "Call stands between Begin and Restore");
  user_regs_struct registers = saved_;
  unsigned long long* const slots[] = {&registers.rdi, &registers.rsi, &registers.rdx,
                                       &registers.r10, &registers.r8,  &registers.r9};
  std::size_t next = 0;
  for (const std::uint64_t argument : arguments) *slots[next++] = argument;
  registers.rax = static_cast<unsigned long long>(number);
  registers.orig_rax = ~0ull;  // no call to restart
  registers.rip = instruction_;
  ASHLAR_ASSIGN_OR_RETURN(const user_regs_struct after, Step(registers, what));
  const auto result = static_cast<std::int64_t>(after.rax);
  if (result < 0 && result > -4096) return ErrnoStatus(static_cast<int>(-result), what);
  return after.rax;
}

absl::StatusOr<pid_t> PtraceSession::Clone(std::string_view what, const NewThread& thread) {
  user_regs_struct registers = saved_;
  registers.rax = SYS_clone;
  registers.orig_rax = ~0ull;
  registers.rip = instruction_;
  registers.rdi = thread.flags;
  registers.rsi = thread.stack_end;
  registers.rdx = registers.r10 = registers.r8 = 0;
  registers.r12 = thread.r12;
  registers.r13 = thread.r13;
  ASHLAR_ASSIGN_OR_RETURN(const user_regs_struct after, Step(registers, what));
  const auto result = static_cast<std::int64_t>(after.rax);
  if (result <= 0) return ErrnoStatus(static_cast<int>(-result), what);
  return static_cast<pid_t>(result);
}

absl::Status PtraceSession::Write(std::uint64_t address, std::span<const std::byte> bytes) {
  const iovec local{const_cast<std::byte*>(bytes.data()), bytes.size()};
  const iovec remote{reinterpret_cast<void*>(address), bytes.size()};
  const ssize_t written = ::process_vm_writev(pid_, &local, 1, &remote, 1, 0);
  if (written == static_cast<ssize_t>(bytes.size())) return absl::OkStatus();
  return ErrnoStatus(written < 0 ? errno : EIO, absl::StrCat("write memory of process ", pid_));
}

absl::Status PtraceSession::Restore() {
  ASHLAR_RETURN_IF_ERROR(GiveTextBack());
  user_regs_struct registers = saved_;
  registers.orig_rax = ~0ull;
  if (::ptrace(PTRACE_SETREGS, pid_, nullptr, &registers) != 0) return ErrnoStatus(errno, "ptrace: restore registers");
  if (::ptrace(PTRACE_SETSIGMASK, pid_, sizeof(saved_mask_), &saved_mask_) != 0) {
    return ErrnoStatus(errno, "ptrace: restore the signal mask");
  }
  saved_valid_ = false;
  return absl::OkStatus();
}

absl::Status PtraceSession::Detach() {
  for (const int signal : held_signals_) ::kill(pid_, signal);
  if (::ptrace(PTRACE_DETACH, pid_, nullptr, nullptr) != 0) return ErrnoStatus(errno, "ptrace: detach");
  pid_ = -1;
  return absl::OkStatus();
}

}  // namespace ashlar::pnode
