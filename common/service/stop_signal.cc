#include "common/service/stop_signal.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <cstdint>
#include <optional>

#include "common/base/check.h"
#include "common/telemetry/log.h"

namespace ashlar::service {
namespace {

sigset_t Handled() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  ::sigaddset(&set, SIGHUP);
  return set;
}

sigset_t Stopping() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGTERM);
  ::sigaddset(&set, SIGINT);
  return set;
}

// The signal that asks to stop, if one is pending.
std::optional<std::string> TakeSignal(int fd) {
  signalfd_siginfo info{};
  while (::read(fd, &info, sizeof(info)) == sizeof(info)) {
    if (info.ssi_signo == SIGTERM) return "SIGTERM";
    if (info.ssi_signo == SIGINT) return "SIGINT";
    log::Warn("service: a reload is not supported in this version, restart the daemon to apply a new topology");
  }
  return std::nullopt;
}

}  // namespace

StopSignal::StopSignal() {
  const sigset_t handled = Handled();
  ASHLAR_CHECK(::pthread_sigmask(SIG_BLOCK, &handled, nullptr) == 0);
  ::signal(SIGPIPE, SIG_IGN);
  signals_.Reset(::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK));
  wake_.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  // No descriptor at the very start of a process: there is nothing to clean up and nobody to tell but the log.
  ASHLAR_CHECK(signals_.valid() && wake_.valid(), "signalfd or eventfd: errno={}", errno);
}

StopSignal::~StopSignal() {
  const sigset_t handled = Handled();
  ::pthread_sigmask(SIG_UNBLOCK, &handled, nullptr);
}

StopCause StopSignal::Wait() {
  while (true) {
    if (const std::optional<std::string> signal = TakeSignal(signals_.get())) Request(*signal, 0);
    {
      absl::MutexLock lock(&mutex_);
      if (requested_) break;
    }
    pollfd fds[] = {{.fd = signals_.get(), .events = POLLIN}, {.fd = wake_.get(), .events = POLLIN}};
    if (::poll(fds, 2, -1) < 0) ASHLAR_CHECK(errno == EINTR, "poll errno={}", errno);
  }
  const sigset_t stopping = Stopping();
  ::pthread_sigmask(SIG_UNBLOCK, &stopping, nullptr);
  absl::MutexLock lock(&mutex_);
  return cause_;
}

void StopSignal::Request(std::string_view why, int exit_code) {
  {
    absl::MutexLock lock(&mutex_);
    if (requested_) return;
    requested_ = true;
    cause_ = {.why = std::string(why), .exit_code = exit_code};
  }
  const std::uint64_t one = 1;
  const ssize_t written = ::write(wake_.get(), &one, sizeof(one));
  ASHLAR_CHECK(written == sizeof(one), "eventfd errno={}", errno);
}

}  // namespace ashlar::service
