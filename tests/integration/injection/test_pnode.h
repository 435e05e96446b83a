// A pnode in its smallest form, for tests of launching: it admits everything, adopts anonymous memory, moves pages out
// into a map and serves faults from it. One owner thread per program. Not a model of paging: no limit, no network.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "daemons/pnode/injection/guard.h"
#include "daemons/pnode/injection/handoff_server.h"

namespace ashlar::pnode {

struct TestPnodeOptions {
  bool evict = false;                   // adopt and move pages out all the time
  bool bring_back_before_exit = true;   // false: shows what the guard is for
  absl::Status admit;                   // not OK: refuse
  absl::Status attach;
};

class TestPnode : public ProgramSink {
 public:
  explicit TestPnode(TestPnodeOptions options);
  ~TestPnode() override;

  const std::string& socket_path() const { return socket_path_; }
  HandoffServer& server() { return *server_; }

  absl::StatusOr<ProgramGrant> Admit(const ProgramRequest& request) override;
  absl::Status Attach(AttachedProgram program) override;
  void OnGone(SpaceId space, GoneReason reason, int wait_status) override;

  struct Gone {
    GoneReason reason;
    int wait_status;
  };
  // The next program that is gone, at most 10 s from now.
  Gone WaitForGone();
  std::uint64_t moved() const { return moved_; }
  std::uint64_t served() const { return served_; }
  std::uint64_t exits() const { return exits_; }

 private:
  class Owner;
  void OnThreadExit(ExitTicket ticket);

  const TestPnodeOptions options_;
  std::string socket_path_;
  std::unique_ptr<Guard> guard_;
  absl::Mutex mutex_;
  std::map<std::uint64_t, std::shared_ptr<Owner>> owners_ ABSL_GUARDED_BY(mutex_);
  std::vector<Gone> gone_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t next_space_ ABSL_GUARDED_BY(mutex_) = 1;
  std::atomic<std::uint64_t> moved_{0};
  std::atomic<std::uint64_t> served_{0};
  std::atomic<std::uint64_t> exits_{0};
  std::unique_ptr<HandoffServer> server_;
};

}  // namespace ashlar::pnode
