// The thread of a daemon's data path: one loop under one name, which feeds the watchdog on every turn.
//
// Threads: made, stopped and destroyed by the main thread.
#pragma once

#include <functional>
#include <string>
#include <thread>

#include "absl/functional/any_invocable.h"
#include "common/service/watchdog.h"

namespace ashlar::service {

class DataThread {
 public:
  // `run` is the loop: it calls what it is given on every turn, and returns once `stop` was called (on another thread).
  using Run = absl::AnyInvocable<void(std::function<void()> on_turn)>;
  // `name`: as shown by top -H, at most 15 characters.
  DataThread(std::string name, Run run, absl::AnyInvocable<void()> stop);
  // Stops the loop and waits for its end.
  ~DataThread();
  DataThread(const DataThread&) = delete;
  DataThread& operator=(const DataThread&) = delete;

 private:
  absl::AnyInvocable<void()> stop_;
  Watchdog watchdog_;  // the thread's
  std::thread thread_;
};

}  // namespace ashlar::service
