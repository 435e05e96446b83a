#include "daemons/pnode/injection/run_program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <optional>
#include <span>
#include <string>

#include "absl/strings/str_cat.h"
#include "daemons/pnode/injection/keeper.h"
#include "daemons/pnode/injection/packet_socket.h"

namespace ashlar::pnode {
namespace {

void Say(const std::string& words) {
  const std::string line = absl::StrCat("ashlar: ", words, "\n");
  if (::write(STDERR_FILENO, line.data(), line.size()) < 0) return;
}

// Standard input and output lead nowhere from now on, and nothing but stderr and `kept` stays open.
void LetGoOfDescriptors(std::span<const int> kept) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null >= 0) {
    ::dup2(null, STDIN_FILENO);
    ::dup2(null, STDOUT_FILENO);
  }
  std::vector<int> open;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    open.push_back(std::atoi(entry.path().filename().c_str()));
  }
  for (const int fd : open) {
    if (fd > STDERR_FILENO && std::find(kept.begin(), kept.end(), fd) == kept.end()) ::close(fd);
  }
}

[[noreturn]] void RunKeeper(const RunOptions& options, const sigset_t& signal_mask, UniqueFd report) {
  ::prctl(PR_SET_NAME, "ashlar-keeper", 0, 0, 0);
  ::prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  int exit_code = kExitAshlarFailed;
  absl::StatusOr<LaunchedProgram> program = Launch(options, signal_mask, &exit_code);
  if (!program.ok()) {
    Say(absl::StrCat("run: ", std::string(program.status().message())));
    const KeeperReport ended{KeeperReport::Kind::kEnded, exit_code, 0};
    SendPacket(report.get(), std::as_bytes(std::span(&ended, 1)), {}).IgnoreError();
    ::_exit(0);
  }
  const int kept[] = {report.get(), program->socket.get(), program->uffd.get(), program->exit_listener.get()};
  LetGoOfDescriptors(kept);
  Keeper(*std::move(program), std::move(report), options.argv[0], options.socket_path).Run();
  ::_exit(0);
}

// `ashlar run` itself: follows what the keeper reports, passes signals on.
class Front {
 public:
  Front(pid_t keeper, UniqueFd report, UniqueFd signals)
      : keeper_(keeper), report_(std::move(report)), signals_(std::move(signals)) {}

  RunEnd Run() {
    while (!exit_code_.has_value()) {
      pollfd polled[2] = {{report_.get(), POLLIN, 0}, {signals_.get(), POLLIN, 0}};
      if (::poll(polled, 2, -1) < 0 && errno != EINTR) return {kExitAshlarFailed, space_};
      if (polled[0].revents != 0) ReadReports();
      if (polled[1].revents != 0) ReadSignals();
    }
    return {*exit_code_, space_};
  }

 private:
  void ReadReports() {
    int stopped_by = 0;
    for (pollfd one{report_.get(), POLLIN, 0}; !exit_code_.has_value() && ::poll(&one, 1, 0) > 0;) {
      absl::StatusOr<Packet> packet = ReceivePacket(report_.get(), absl::ZeroDuration());
      KeeperReport report;
      if (!packet.ok() || packet->bytes.size() != sizeof(report)) {
        Say("run: the keeper process was killed, and the program with it");
        exit_code_ = kExitAshlarFailed;
        return;
      }
      std::memcpy(&report, packet->bytes.data(), sizeof(report));
      switch (report.kind) {
        case KeeperReport::Kind::kStarted:
          program_ = report.value;
          space_ = SpaceId(report.space);
          break;
        case KeeperReport::Kind::kStopped:
          stopped_by = report.value;
          break;
        case KeeperReport::Kind::kContinued:
          stopped_by = 0;
          break;
        case KeeperReport::Kind::kEnded:
          exit_code_ = report.value;
          return;
      }
    }
    if (stopped_by != 0) StopLikeProgram(stopped_by);
  }

  // A shell that waits for this process sees the stop as if it were the program's.
  void StopLikeProgram(int signal) {
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, signal);
    ::signal(signal, SIG_DFL);
    ::sigprocmask(SIG_UNBLOCK, &one, nullptr);
    ::kill(::getpid(), signal);
    ::sigprocmask(SIG_BLOCK, &one, nullptr);
  }

  // The terminal's signals go to the whole process group, so the program has them already.
  void ReadSignals() {
    signalfd_siginfo info;
    while (::read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
      const int signal = static_cast<int>(info.ssi_signo);
      if (signal == SIGCHLD) continue;  // the keeper's end shows at report_
      if (program_ == 0) {
        GiveUpStart(signal);
        return;
      }
      if (info.ssi_code == SI_KERNEL || (info.ssi_pid == static_cast<std::uint32_t>(keeper_) && signal == SIGCONT)) {
        continue;
      }
      ::kill(program_, signal);
    }
  }

  // Before the program runs there is nothing to pass a signal to. It dies with its parent.
  void GiveUpStart(int signal) {
    if (signal != SIGINT && signal != SIGTERM && signal != SIGHUP && signal != SIGQUIT) return;
    ::kill(keeper_, SIGKILL);
    ::waitpid(keeper_, nullptr, 0);
    exit_code_ = 128 + signal;
  }

  const pid_t keeper_;
  pid_t program_ = 0;
  SpaceId space_;
  UniqueFd report_;
  UniqueFd signals_;
  std::optional<int> exit_code_;
};

}  // namespace

RunEnd RunProgram(const RunOptions& options) {
  if (options.argv.empty()) {
    Say("run: no program given; usage: ashlar run [options] -- PROGRAM ARGS…");
    return {.exit_code = kExitAshlarFailed, .space = {}};
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    Say(absl::StrCat("run: socketpair: ", std::strerror(errno)));
    return {.exit_code = kExitAshlarFailed, .space = {}};
  }
  UniqueFd ours(ends[0]);
  UniqueFd keepers(ends[1]);
  // Both processes get their signals by signalfd or not at all; a keeper must never be stopped or killed by the terminal.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before);
  UniqueFd signals(::signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK));
  const pid_t keeper = ::fork();
  if (keeper < 0 || !signals.valid()) {
    Say(absl::StrCat("run: fork: ", std::strerror(errno)));
    return {.exit_code = kExitAshlarFailed, .space = {}};
  }
  if (keeper == 0) {
    ours.Reset();
    signals.Reset();
    RunKeeper(options, before, std::move(keepers));
  }
  const int kept[] = {ours.get(), signals.get()};
  LetGoOfDescriptors(kept);
  keepers.Release();  // closed with the rest
  return Front(keeper, std::move(ours), std::move(signals)).Run();
}

}  // namespace ashlar::pnode
