// The pnode's end of the UNIX socket that `ashlar run` connects to: admits programs, takes over their descriptors, and
// sees to it that no program outlives its shim. Messages: handoff_message.h.
//
// Threads: one of its own ("handoff"), on which the sink is called, one call at a time. Kill, Hold, Programs and
// AddStats are thread-safe. A peer that sends anything unexpected loses its connection and is counted; a peer that was
// attached loses its program with it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/ids.h"
#include "common/base/unique_fd.h"
#include "common/telemetry/counter.h"
#include "common/telemetry/log.h"
#include "common/telemetry/stat_list.h"
#include "daemons/pnode/injection/injector.h"
#include "daemons/pnode/injection/process_tree.h"

namespace ashlar::pnode {

struct Peer {
  uid_t uid = 0;  // by the kernel (SO_PEERCRED)
  pid_t pid = 0;
};

struct ProgramRequest {
  std::uint64_t limit_bytes = 0;  // 0: no wish
  bool strace = false;  // count its system calls from the start
  std::string name;
  std::string arguments;
  Peer peer;
};

struct ProgramGrant {
  SpaceId space;
  std::uint64_t limit_bytes = 0;
  std::uint32_t staging_pages = 0;
  std::uint32_t victim_slots = 0;
  absl::Duration give_up = absl::Seconds(60);
};

// A program that stands at its first instruction, checked: descriptors are what they should be, the areas sealed and of
// the granted size, addresses aligned and apart, UFFDIO_API done, staging registered.
struct AttachedProgram {
  SpaceId space;
  Injection injection;
  UniqueFd exit_listener;  // for Guard::Add
  std::uint32_t staging_pages = 0;
  std::uint32_t victim_slots = 0;
};

enum class GoneReason {
  kEnded,     // its last process ended; wait_status is the first one's
  kNeverRan,  // admitted, but not let run
  kShimLost,  // the shim went away: the program's processes were killed
};

// What the pnode does with programs. Called on the handoff thread; must not wait for a program.
class ProgramSink {
 public:
  virtual ~ProgramSink() = default;
  // A status refuses; its words reach the user, so they name the fix.
  virtual absl::StatusOr<ProgramGrant> Admit(const ProgramRequest& request) = 0;
  // OK lets the program run. After a status it is killed, and OnGone(kNeverRan) follows.
  virtual absl::Status Attach(AttachedProgram program) = 0;
  // Exactly once for each space that was admitted.
  virtual void OnGone(SpaceId space, GoneReason reason, int wait_status) = 0;
};

struct Packet;

struct ProgramStatus {
  SpaceId space;
  std::string name;
  std::string arguments;
  uid_t uid = 0;
  pid_t pid = 0;                      // 0: not attached yet
  std::vector<ProcessInfo> children;  // as of the last look (every second); a child that executed a program runs locally
};

class HandoffServer {
 public:
  struct Options {
    std::string socket_path;
    std::string uffd_device = "/dev/userfaultfd";  // passed on to programs if this process can open it
    std::size_t max_connections = 256;
    absl::Duration request_timeout = absl::Seconds(10);  // from connecting to RunRequest
    absl::Duration attach_timeout = absl::Seconds(60);   // from Grant to Attach
  };
  static absl::StatusOr<std::unique_ptr<HandoffServer>> Start(Options options, ProgramSink* sink);
  // Kills the programs that are attached, each with these words on its terminal, and stops.
  ~HandoffServer();

  // Kills the program's processes; `words` reach its terminal. Unknown spaces are ignored.
  void Kill(SpaceId space, std::string words);
  // The shim holds a copy of a forked child's userfaultfd, so that the pnode's death does not turn its memory into zeros.
  void Hold(SpaceId space, UniqueFd uffd);

  std::vector<ProgramStatus> Programs() const;
  void AddStats(StatList* stats) const;

 private:
  struct Connection;
  struct Command {
    SpaceId space;
    std::string words;  // Kill
    UniqueFd uffd;      // Hold if valid
  };

  HandoffServer(Options options, ProgramSink* sink);
  void Run();
  void Accept();
  void RunCommands();
  void LookAtChildren();
  int PollTimeoutMs() const;
  void Expire(Connection& connection);
  void Receive(Connection& connection);
  absl::Status Take(Connection& connection, Packet packet);
  absl::Status OnRunRequest(Connection& connection, std::span<const std::byte> bytes);
  absl::Status OnAttach(Connection& connection, Packet packet);
  absl::Status OnExited(Connection& connection, std::span<const std::byte> bytes);
  void Refuse(Connection& connection, const absl::Status& status);
  void KillProcesses(Connection& connection);
  void End(Connection& connection, GoneReason reason);
  void Post(Command command);

  const Options options_;
  ProgramSink* const sink_;
  UniqueFd listener_;
  UniqueFd wake_fd_;
  UniqueFd device_;
  std::vector<std::unique_ptr<Connection>> connections_;  // only the handoff thread
  log::RateLimit malformed_lines_;
  std::uint64_t looked_ns_ = 0;                           // at the children

  mutable absl::Mutex mutex_;  // leaf
  std::deque<Command> commands_ ABSL_GUARDED_BY(mutex_);
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_map<std::uint64_t, ProgramStatus> programs_ ABSL_GUARDED_BY(mutex_);

  Counter accepted_;
  Counter turned_away_;  // over max_connections
  Counter refused_;
  Counter malformed_;
  Counter attached_;
  Counter shims_lost_;
  std::thread thread_;
};

}  // namespace ashlar::pnode
