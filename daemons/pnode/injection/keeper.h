// The two-holder rule (10-paging §5): beside the pnode, the keeper holds the program's userfaultfd as long as one of its
// processes lives, because with the last holder gone missing pages would read as zeros, silently. If the pnode goes away
// first, nobody can serve the program any more: the keeper kills it, and only then lets go.
//
// It is a process of its own, child of `ashlar run`, parent and subreaper of the program; so `ashlar run` can end with
// the program's first process, as a shell expects, while daemonised children live on.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/unique_fd.h"
#include "daemons/pnode/injection/launcher.h"

namespace ashlar::pnode {

// Keeper → `ashlar run`, over a SOCK_SEQPACKET pair.
struct KeeperReport {
  enum class Kind : std::int32_t {
    kStarted = 1,    // value: pid
    kStopped = 2,    // value: the signal that stopped it
    kContinued = 3,
    kEnded = 4,      // value: exit code of `ashlar run`
  };
  Kind kind;
  std::int32_t value;
  std::uint64_t space = 0;  // of kStarted
};

// The code a shell would show: the program's own, or 128 + signal.
int ExitCodeOf(int wait_status);

class Keeper {
 public:
  // `report` leads to `ashlar run`, whose death ends the program. `name` is for messages.
  Keeper(LaunchedProgram program, UniqueFd report, std::string name, std::string socket_path);
  // Until the program's last process has ended. All signals are blocked in this process.
  void Run();

 private:
  void Tell(KeeperReport::Kind kind, int value);
  void Say(const std::string& words);
  void ReadPnode();
  void Reap();
  void KillAll();
  void OnFirstEnded(int wait_status);

  LaunchedProgram program_;
  UniqueFd report_;
  const std::string name_;
  const std::string socket_path_;  // of the pnode, for messages
  std::vector<UniqueFd> held_;  // userfaultfds of forked children
  bool pnode_lost_ = false;
  bool first_ended_ = false;
  bool all_ended_ = false;
};

}  // namespace ashlar::pnode
