// What systemd (or whoever set NOTIFY_SOCKET) is told of this daemon's life. Without it every call does nothing.
// Threads: thread-safe. Errors are logged once and otherwise ignored: a daemon serves also when nobody listens.
#pragma once

#include <string_view>

namespace ashlar::service {

// It can serve. `status` is the line `systemctl status` shows.
void NotifyReady(std::string_view status);
// It was asked to stop and drains.
void NotifyStopping(std::string_view status);
void NotifyStatus(std::string_view status);
void NotifyWatchdog();

}  // namespace ashlar::service
