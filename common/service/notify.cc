#include "common/service/notify.h"

#include <systemd/sd-daemon.h>

#include <atomic>
#include <string>

#include "common/base/status.h"
#include "common/telemetry/log.h"

namespace ashlar::service {
namespace {

void Send(const std::string& state) {
  const int result = ::sd_notify(/*unset_environment=*/0, state.c_str());
  if (result >= 0) return;
  static std::atomic<bool> told{false};
  if (!told.exchange(true)) log::Warn("service: systemd can't be told of our state why=\"{}\"", ErrnoStatus(-result, "sd_notify"));
}

// A line break would start a field of its own.
std::string OneLine(std::string_view text) {
  std::string line(text);
  for (char& c : line) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return line;
}

}  // namespace

void NotifyReady(std::string_view status) { Send("READY=1\nSTATUS=" + OneLine(status)); }
void NotifyStopping(std::string_view status) { Send("STOPPING=1\nSTATUS=" + OneLine(status)); }
void NotifyStatus(std::string_view status) { Send("STATUS=" + OneLine(status)); }
void NotifyWatchdog() { Send("WATCHDOG=1"); }

}  // namespace ashlar::service
