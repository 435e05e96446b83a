#include "daemons/pnode/injection/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemons/pnode/injection/handoff_message.h"
#include "daemons/pnode/injection/packet_socket.h"
#include "daemons/pnode/injection/process_tree.h"

namespace ashlar::pnode {

int ExitCodeOf(int wait_status) {
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

Keeper::Keeper(LaunchedProgram program, UniqueFd report, std::string name, std::string socket_path)
    : program_(std::move(program)), report_(std::move(report)), name_(std::move(name)),
      socket_path_(std::move(socket_path)) {}

void Keeper::Tell(KeeperReport::Kind kind, int value) {
  const KeeperReport report{kind, value, kind == KeeperReport::Kind::kStarted ? program_.space.value() : 0};
  SendPacket(report_.get(), std::as_bytes(std::span(&report, 1)), {}).IgnoreError();
}

void Keeper::Say(const std::string& words) {
  const std::string line = absl::StrCat("ashlar: ", words, "\n");
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) return;  // nobody to tell
}

void Keeper::Run() {
  sigset_t child_signal;
  sigemptyset(&child_signal);
  sigaddset(&child_signal, SIGCHLD);
  const UniqueFd signals(::signalfd(-1, &child_signal, SFD_CLOEXEC | SFD_NONBLOCK));
  Tell(KeeperReport::Kind::kStarted, program_.pid);
  while (!all_ended_) {
    pollfd polled[3] = {{signals.get(), POLLIN, 0},
                        {pnode_lost_ ? -1 : program_.socket.get(), POLLIN, 0},
                        {first_ended_ ? -1 : report_.get(), 0, 0}};
    if (::poll(polled, 3, -1) < 0 && errno != EINTR) break;
    // The pnode first: a reason it sent before it killed the program must be shown.
    if (polled[1].revents != 0) ReadPnode();
    if (polled[2].revents != 0) {
      Say(absl::StrCat("run was killed; killing ", name_));
      KillAll();
    }
    signalfd_siginfo ignored;
    while (::read(signals.get(), &ignored, sizeof(ignored)) > 0) {
    }
    Reap();
  }
}

void Keeper::ReadPnode() {
  absl::StatusOr<Packet> packet = ReceivePacket(program_.socket.get(), absl::ZeroDuration());
  if (packet.ok()) {
    if (handoff::Parse<handoff::Hold>(packet->bytes).ok() && packet->descriptors.size() == 1) {
      held_.push_back(std::move(packet->descriptors[0]));
      return;
    }
    if (auto killed = handoff::Parse<handoff::Killed>(packet->bytes); killed.ok()) {
      Say(absl::StrCat(name_, " was killed: ", handoff::GetText(killed->words.text)));
      KillAll();
      return;
    }
    packet = absl::InvalidArgumentError("it sends what this `ashlar` does not understand");
  }
  pnode_lost_ = true;
  Say(absl::StrCat("the pnode at ", socket_path_, " is gone (", std::string(packet.status().message()), "); killing ", name_,
                   ": nobody can serve its memory any more"));
  KillAll();
}

// The tree may grow while it is killed, so until nothing is left. A process in an uninterruptible wait delays this; the
// userfaultfds stay held meanwhile.
void Keeper::KillAll() {
  for (;;) {
    for (const ProcessInfo& process : Descendants(::getpid())) KillProcess(process);
    Reap();
    if (all_ended_) return;
    ::usleep(2000);
  }
}

void Keeper::Reap() {
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG | WUNTRACED | WCONTINUED);
    if (pid == 0) return;
    if (pid < 0) {
      if (errno == EINTR) continue;
      all_ended_ = true;  // ECHILD: whatever came from the program would be a child of ours
      return;
    }
    if (pid != program_.pid) continue;
    if (WIFSTOPPED(status)) {
      Tell(KeeperReport::Kind::kStopped, WSTOPSIG(status));
    } else if (WIFCONTINUED(status)) {
      Tell(KeeperReport::Kind::kContinued, 0);
      ::kill(::getppid(), SIGCONT);  // it stopped with the program
    } else {
      OnFirstEnded(status);
    }
  }
}

void Keeper::OnFirstEnded(int wait_status) {
  first_ended_ = true;
  auto exited = handoff::Make<handoff::Exited>();
  exited.wait_status = wait_status;
  Send(program_.socket.get(), exited).IgnoreError();
  Tell(KeeperReport::Kind::kEnded, ExitCodeOf(wait_status));
  report_.Reset();
  // What lives on is in the background now, and must not keep anybody's terminal or pipe open.
  const UniqueFd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (null.valid()) ::dup2(null.get(), STDERR_FILENO);
}

}  // namespace ashlar::pnode
