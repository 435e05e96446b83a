#include "daemons/pnode/injection/launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <span>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/base/status.h"
#include "daemons/pnode/injection/handoff_message.h"
#include "daemons/pnode/injection/injector.h"
#include "daemons/pnode/injection/packet_socket.h"
#include "daemons/pnode/injection/ptrace_session.h"
#include "daemons/pnode/injection/seccomp_filter.h"

namespace ashlar::pnode {
namespace {

constexpr absl::Duration kAdmitTimeout = absl::Seconds(30);
constexpr absl::Duration kChildTimeout = absl::Seconds(10);

// What the child says before it becomes the program. Descriptors travel beside kListener.
enum class ChildStep : std::int32_t { kListener = 0, kSeccomp = 1, kExec = 2 };
struct ChildReport {
  ChildStep step;
  std::int32_t error;  // errno
};

struct ChildSetup {
  pid_t parent;
  int channel;
  int uffd_device;  // stays open across exec; -1: none
  std::uint64_t limit_bytes;
  const sigset_t* signal_mask;
  char* const* argv;
};

[[noreturn]] void RunChild(const ChildSetup& setup) {
  const auto report = [&](ChildStep step, int error, std::span<const int> descriptors = {}) {
    const ChildReport bytes{step, error};
    SendPacket(setup.channel, std::as_bytes(std::span(&bytes, 1)), descriptors).IgnoreError();
  };
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (::getppid() != setup.parent) ::_exit(kExitAshlarFailed);
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);  // splitting one huge page costs as much as 500 small ones
  rlimit limit;
  if (::getrlimit(RLIMIT_CORE, &limit) == 0) {
    limit.rlim_cur = 0;  // the kernel would write holes for pages that are away
    ::setrlimit(RLIMIT_CORE, &limit);
  }
  if (::getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_cur, setup.limit_bytes / 2);
    limit.rlim_max = std::min<rlim_t>(limit.rlim_max, setup.limit_bytes / 2);
    ::setrlimit(RLIMIT_MEMLOCK, &limit);
  }
  const int listener = InstallThreadExitFilter();
  if (listener < 0) {
    report(ChildStep::kSeccomp, -listener);
    ::_exit(kExitAshlarFailed);
  }
  report(ChildStep::kListener, 0, std::span(&listener, 1));
  char go;
  if (::recv(setup.channel, &go, 1, 0) != 1) ::_exit(kExitAshlarFailed);
  if (setup.uffd_device >= 0) ::fcntl(setup.uffd_device, F_SETFD, 0);
  ::sigprocmask(SIG_SETMASK, setup.signal_mask, nullptr);
  ::execvp(setup.argv[0], setup.argv);
  const int error = errno;
  report(ChildStep::kExec, error);
  ::_exit(error == ENOENT ? kExitNotFound : kExitNotExecutable);
}

absl::StatusOr<ChildReport> ReceiveReport(int channel, std::vector<UniqueFd>* descriptors) {
  ASHLAR_ASSIGN_OR_RETURN(Packet packet, ReceivePacket(channel, kChildTimeout));
  ChildReport report;
  if (packet.bytes.size() != sizeof(report)) return absl::InternalError("the child reports nonsense");
  std::memcpy(&report, packet.bytes.data(), sizeof(report));
  *descriptors = std::move(packet.descriptors);
  return report;
}

// The child from fork to exec. Kills it when destroyed, unless it was let go.
class Child {
 public:
  Child() = default;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, __WALL);
  }
  absl::Status Fork(ChildSetup setup) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return ErrnoStatus(errno, "socketpair");
    channel_ = UniqueFd(ends[0]);
    const UniqueFd childs(ends[1]);
    setup.parent = ::getpid();
    setup.channel = childs.get();
    pid_ = ::fork();
    if (pid_ < 0) return ErrnoStatus(errno, "fork");
    if (pid_ == 0) RunChild(setup);
    return absl::OkStatus();
  }
  absl::StatusOr<UniqueFd> TakeListener() {
    std::vector<UniqueFd> descriptors;
    ASHLAR_ASSIGN_OR_RETURN(const ChildReport report, ReceiveReport(channel_.get(), &descriptors));
    if (report.step == ChildStep::kListener && descriptors.size() == 1) return std::move(descriptors[0]);
    return ErrnoStatus(report.error, report.error == EBUSY
                                         ? "the seccomp filter for thread ends (is this already inside `ashlar run`, or "
                                           "in a container with a seccomp listener? Only one can be in force)"
                                         : "the seccomp filter for thread ends");
  }
  // Until a program's first instruction. NotFound or PermissionDenied-like: exec failed, exit_code says how.
  absl::Status Exec(PtraceSession& session, const std::string& name, int* exit_code) {
    if (::send(channel_.get(), "g", 1, MSG_NOSIGNAL) != 1) return ErrnoStatus(errno, "start the program");
    ASHLAR_ASSIGN_OR_RETURN(const std::optional<int> ended, session.WaitForExec());
    if (!ended.has_value()) return absl::OkStatus();
    pid_ = -1;  // reaped
    std::vector<UniqueFd> none;
    absl::StatusOr<ChildReport> report = ReceiveReport(channel_.get(), &none);
    if (report.ok() && report->step == ChildStep::kExec) {
      *exit_code = report->error == ENOENT ? kExitNotFound : kExitNotExecutable;
      return ErrnoStatus(report->error, name);
    }
    return absl::AbortedError(absl::StrCat(name, " was killed before it started"));
  }
  void LetGo() { pid_ = -1; }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  UniqueFd channel_;
};

struct Admission {
  UniqueFd socket;
  handoff::Grant grant;
  UniqueFd uffd_device;
};

// The next message, which must be a `Message` or a refusal.
template <typename Message>
absl::StatusOr<std::pair<Message, std::vector<UniqueFd>>> Expect(int socket, absl::Duration timeout) {
  ASHLAR_ASSIGN_OR_RETURN(Packet packet, ReceivePacket(socket, timeout));
  ASHLAR_ASSIGN_OR_RETURN(const handoff::Kind kind, handoff::Inspect(packet.bytes));
  if (kind == handoff::Kind::kRefusal) {
    ASHLAR_ASSIGN_OR_RETURN(const auto refusal, handoff::Parse<handoff::Refusal>(packet.bytes));
    return Annotate(handoff::StatusOf(refusal), "the pnode refuses");
  }
  ASHLAR_ASSIGN_OR_RETURN(const auto message, handoff::Parse<Message>(packet.bytes));
  return std::pair(message, std::move(packet.descriptors));
}

absl::StatusOr<Admission> AskForPlace(const RunOptions& options, const std::string& name) {
  Admission admission;
  absl::StatusOr<UniqueFd> socket = ConnectTo(options.socket_path);
  if (absl::IsNotFound(socket.status()) || absl::IsUnavailable(socket.status())) {
    return Annotate(socket.status(), "no pnode runs here; start ashlar-pnode, or name its socket");
  }
  if (absl::IsPermissionDenied(socket.status())) {
    return Annotate(socket.status(), "this user may not use the pnode; it must be in the group of the socket");
  }
  if (!socket.ok()) return socket.status();
  admission.socket = *std::move(socket);

  auto request = handoff::Make<handoff::RunRequest>();
  request.limit_bytes = options.limit_bytes;
  request.strace = options.strace ? 1 : 0;
  handoff::PutText(request.name, name);
  handoff::PutText(request.arguments, absl::StrJoin(options.argv, " "));
  ASHLAR_RETURN_IF_ERROR(Send(admission.socket.get(), request));
  auto answer = Expect<handoff::Grant>(admission.socket.get(), kAdmitTimeout);
  if (!answer.ok()) return answer.status();
  admission.grant = answer->first;
  std::vector<UniqueFd>& descriptors = answer->second;
  if (descriptors.size() != (admission.grant.has_device != 0 ? 1u : 0u)) {
    return absl::InvalidArgumentError("handoff: the grant lacks its descriptor");
  }
  if (!descriptors.empty()) admission.uffd_device = std::move(descriptors[0]);
  return admission;
}

absl::Status HandOver(const Admission& admission, const Injection& injection, int exit_listener) {
  auto attach = handoff::Make<handoff::Attach>();
  attach.blob_address = injection.addresses.blob;
  attach.control_address = injection.addresses.control;
  attach.victim_address = injection.addresses.victim;
  attach.staging_address = injection.addresses.staging;
  attach.pid = injection.pid;
  attach.move_tid = injection.move_tid;
  attach.unshare_tid = injection.unshare_tid;
  int descriptors[handoff::kAttachDescriptors];
  descriptors[handoff::kAttachUffd] = injection.uffd.get();
  descriptors[handoff::kAttachControl] = injection.control.get();
  descriptors[handoff::kAttachVictim] = injection.victim.get();
  descriptors[handoff::kAttachMoveEvent] = injection.move_event.get();
  descriptors[handoff::kAttachUnshareEvent] = injection.unshare_event.get();
  descriptors[handoff::kAttachPidfd] = injection.pidfd.get();
  descriptors[handoff::kAttachListener] = exit_listener;
  ASHLAR_RETURN_IF_ERROR(Send(admission.socket.get(), attach, descriptors));
  return Expect<handoff::Ready>(admission.socket.get(), absl::Milliseconds(admission.grant.give_up_ms)).status();
}

}  // namespace

absl::StatusOr<LaunchedProgram> Launch(const RunOptions& options, const sigset_t& signal_mask, int* exit_code) {
  *exit_code = kExitAshlarFailed;
  if (options.argv.empty()) return absl::InvalidArgumentError("no program given");
  const std::string& file = options.argv[0];
  const std::string name = options.name.empty() ? file.substr(file.rfind('/') + 1) : options.name;
  std::vector<char*> argv;
  for (const std::string& word : options.argv) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);

  ASHLAR_ASSIGN_OR_RETURN(Admission admission, AskForPlace(options, name));
  Child child;
  ASHLAR_RETURN_IF_ERROR(child.Fork({.uffd_device = admission.uffd_device.get(),
                                     .limit_bytes = admission.grant.limit_bytes,
                                     .signal_mask = &signal_mask,
                                     .argv = argv.data()}));
  ASHLAR_ASSIGN_OR_RETURN(UniqueFd listener, child.TakeListener());
  ASHLAR_ASSIGN_OR_RETURN(PtraceSession session, PtraceSession::Seize(child.pid()));
  ASHLAR_RETURN_IF_ERROR(child.Exec(session, file, exit_code));
  ASHLAR_RETURN_IF_ERROR(CheckProgramFile(child.pid()));
  ASHLAR_ASSIGN_OR_RETURN(Injection injection, Inject(session, {.staging_pages = admission.grant.staging_pages,
                                                                .victim_slots = admission.grant.victim_slots,
                                                                .uffd_device = admission.uffd_device.get()}));
  ASHLAR_RETURN_IF_ERROR(HandOver(admission, injection, listener.get()));
  ASHLAR_RETURN_IF_ERROR(session.Detach());
  LaunchedProgram program{.pid = child.pid(),
                          .space = SpaceId(admission.grant.space_id),
                          .socket = std::move(admission.socket),
                          .uffd = std::move(injection.uffd),
                          .exit_listener = std::move(listener)};
  child.LetGo();
  return program;
}

}  // namespace ashlar::pnode
