// When and why a daemon ends: SIGTERM, SIGINT, or a thread of its own that can't go on.
//
// Make it before the first other thread: it blocks the signals in its own thread, and later threads inherit that.
// SIGPIPE is ignored: a write to a closed socket is an error that the writer sees.
// SIGHUP does not kill; it logs that a reload needs a restart in this version.
// Threads: Request from anywhere; Wait on the thread that made it. One per process.
#pragma once

#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/base/unique_fd.h"

namespace ashlar::service {

struct StopCause {
  std::string why;    // "SIGTERM", or what Request said
  int exit_code = 0;  // 0 when asked to stop
};

class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // Blocks until the first cause, and returns it. From then on a further SIGINT or SIGTERM ends the process at once,
  // which is as safe as a crash: a person who waits for a slow stop can insist.
  StopCause Wait();
  // The first one counts.
  void Request(std::string_view why, int exit_code);

 private:
  UniqueFd signals_;   // signalfd
  UniqueFd wake_;      // eventfd
  absl::Mutex mutex_;  // a leaf
  bool requested_ ABSL_GUARDED_BY(mutex_) = false;
  StopCause cause_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ashlar::service
