#include "tests/support/paged_program.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/synchronization/notification.h"
#include "common/base/status.h"
#include "daemons/pnode/injection/injector.h"
#include "daemons/pnode/injection/ptrace_session.h"
#include "daemons/pnode/injection/uffd_setup.h"

namespace ashlar::pnode {

absl::Status ProbePagingRights() {
  UniqueFd uffd(static_cast<int>(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK)));
  if (!uffd.valid()) return ErrnoStatus(errno, "no right to userfaultfd");
  void* pages = mmap(nullptr, 64 * kPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  absl::Status status = SetUpUffd(uffd.get(), reinterpret_cast<std::uint64_t>(pages), 64);
  uffd.Reset();  // before munmap, which would wait for somebody to read its event
  munmap(pages, 64 * kPageBytes);
  return status;
}

absl::StatusOr<std::unique_ptr<PagedProgram>> PagedProgram::Start(std::vector<std::string> argv, const Options& options) {
  std::unique_ptr<PagedProgram> program(new PagedProgram());
  program->store_.faults = options.store_faults;
  ASHLAR_ASSIGN_OR_RETURN(program->thread_, FaultThread::Start({}, program->store_, *program));

  int go[2];
  if (pipe2(go, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
  UniqueFd go_read(go[0]), go_write(go[1]);
  std::vector<char*> pointers;
  for (std::string& word : argv) pointers.push_back(word.data());
  pointers.push_back(nullptr);
  pid_t pid = fork();
  if (pid < 0) return ErrnoStatus(errno, "fork");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    char byte;
    if (read(go_read.get(), &byte, 1) != 1) _exit(99);
    execv(pointers[0], pointers.data());
    _exit(127);
  }
  program->pid_ = pid;
  ASHLAR_ASSIGN_OR_RETURN(PtraceSession session, PtraceSession::Seize(pid));
  if (write(go_write.get(), "x", 1) != 1) return ErrnoStatus(errno, "start the program");
  ASHLAR_ASSIGN_OR_RETURN(std::optional<int> early, session.WaitForExec());
  if (early.has_value()) {
    program->pid_ = -1;
    return absl::NotFoundError("the program did not start");
  }
  auto slots = static_cast<std::uint32_t>(options.limit_bytes / kPageBytes * options.victim_percent / 100);
  ASHLAR_ASSIGN_OR_RETURN(Injection injection, Inject(session, {.staging_pages = options.staging_pages, .victim_slots = slots}));
  ASHLAR_RETURN_IF_ERROR(SetUpUffd(injection.uffd.get(), injection.addresses.staging, options.staging_pages));
  AttachedMemory memory;
  memory.uffd = std::move(injection.uffd);
  memory.pidfd = std::move(injection.pidfd);
  memory.control = std::move(injection.control);
  memory.victim = std::move(injection.victim);
  memory.move_event = std::move(injection.move_event);
  memory.pid = pid;
  memory.victim_slots = slots;
  memory.staging_address = injection.addresses.staging;
  memory.staging_pages = options.staging_pages;
  SpaceConfig config;
  config.space = SpaceId(static_cast<std::uint64_t>(pid));
  config.limit_bytes = options.limit_bytes;
  config.give_up = options.give_up;
  absl::Status attached;
  absl::Notification ready;
  program->thread_->Attach(config, std::move(memory), [&](absl::Status status) {
    attached = std::move(status);
    ready.Notify();
  });
  ready.WaitForNotification();
  ASHLAR_RETURN_IF_ERROR(attached);
  program->counters_ = program->thread_->FindCounters(config.space);
  ASHLAR_RETURN_IF_ERROR(session.Detach());
  return program;
}

PagedProgram::~PagedProgram() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    Wait();
  }
  thread_.reset();
}

int PagedProgram::Wait() {
  if (pid_ > 0) {
    waitpid(pid_, &wait_status_, __WALL);
    pid_ = -1;
  }
  absl::MutexLock lock(&mutex_);
  if (counters_ != nullptr) mutex_.AwaitWithTimeout(absl::Condition(&ended_), absl::Seconds(10));
  return wait_status_;
}

std::string PagedProgram::killed_reason() const {
  absl::MutexLock lock(&mutex_);
  return killed_reason_;
}

void PagedProgram::KillProgram(SpaceId, std::string_view reason) {
  {
    absl::MutexLock lock(&mutex_);
    killed_reason_ = std::string(reason);
  }
  pid_t pid = pid_;
  if (pid > 0) kill(pid, SIGKILL);
}

void PagedProgram::OnEnded(SpaceId) {
  absl::MutexLock lock(&mutex_);
  ended_ = true;
}

}  // namespace ashlar::pnode
