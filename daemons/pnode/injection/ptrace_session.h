// Drives one child at its exec stop: runs system calls in it and writes its memory, then lets it go as it was.
//
// Threads: one thread at a time, and always the same one: ptrace belongs to the thread that seized.
// While a session lives the program dies with its tracer (PTRACE_O_EXITKILL). x86-64 only.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <sys/user.h>

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace ashlar::pnode {

class PtraceSession {
 public:
  // Seizes a direct child that has not called execve yet.
  static absl::StatusOr<PtraceSession> Seize(pid_t pid);
  PtraceSession(PtraceSession&& other) noexcept;
  PtraceSession& operator=(PtraceSession&&) = delete;
  ~PtraceSession();  // detaches if Detach was not called; the program is left as it is

  // Passes signals on until the child has a new program in it, not one instruction of which has run. If the child ended
  // instead, the value is its wait status; it has been reaped.
  absl::StatusOr<std::optional<int>> WaitForExec();

  // Between WaitForExec and Restore: saves registers and signal mask, blocks what can be blocked, and borrows two bytes
  // of the program's text for a syscall instruction.
  absl::Status Begin();
  // Uses the syscall instruction at `address` from now on (the blob's), and gives the borrowed bytes back.
  absl::Status UseInstructionAt(std::uint64_t address);
  // The call's result, errors as a status that names `what`.
  absl::StatusOr<std::uint64_t> Call(std::string_view what, long number, std::initializer_list<std::uint64_t> arguments);
  // Starts a raw thread at the instruction behind the current syscall instruction, with r12 and r13 as given.
  struct NewThread {
    std::uint64_t flags;
    std::uint64_t stack_end;
    std::uint64_t r12;
    std::uint64_t r13;
  };
  absl::StatusOr<pid_t> Clone(std::string_view what, const NewThread& thread);
  // Memory must be writable for the program itself.
  absl::Status Write(std::uint64_t address, std::span<const std::byte> bytes);
  // Registers, mask and text as they were at Begin.
  absl::Status Restore();

  // Lets the program run; signals that came meanwhile reach it now.
  absl::Status Detach();

  pid_t pid() const { return pid_; }
  bool is_64bit() const;  // after Begin

 private:
  explicit PtraceSession(pid_t pid) : pid_(pid) {}
  absl::StatusOr<user_regs_struct> Step(const user_regs_struct& registers, std::string_view what);
  absl::Status GiveTextBack();

  pid_t pid_;  // -1: moved from or detached
  user_regs_struct saved_{};
  std::uint64_t saved_mask_ = 0;
  bool saved_valid_ = false;
  std::uint64_t instruction_ = 0;  // address of a syscall instruction
  std::uint64_t borrowed_at_ = 0;  // 0: nothing is borrowed
  long borrowed_word_ = 0;
  std::vector<int> held_signals_;
};

}  // namespace ashlar::pnode
