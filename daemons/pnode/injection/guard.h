// Watches over the ends of threads: holds the seccomp listener of each program and lets an exiting thread go on only
// when whoever keeps its pages says that they are in memory. See seccomp_filter.h for why.
//
// Threads: the guard has one thread of its own ("guard"), on which the hook is called; Add is thread-safe.
// An ExitTicket may be taken to any thread. No lock is held while the hook runs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "common/base/ids.h"
#include "common/base/unique_fd.h"
#include "common/telemetry/counter.h"
#include "common/telemetry/stat_list.h"
#include "daemons/pnode/injection/address_range.h"

namespace ashlar::pnode {

// One thread that waits to exit. The thread goes on when Continue is called or the ticket is destroyed, whichever comes
// first, so it can't be lost. Continue never blocks: the owner of the pages may call it.
//
// If a page that the guard must read to find the rest (the list of robust mutexes) was away, Continue leads back to the
// hook instead, with a ticket that names more; pages of the earlier ticket stay needed.
class ExitTicket {
 public:
  struct Listener;  // shared, so that the descriptor outlives all tickets

  // `complete`: ranges() is all there is to find.
  ExitTicket(std::shared_ptr<Listener> listener, std::uint64_t id, SpaceId space, pid_t pid, pid_t tid,
             std::vector<AddressRange> ranges, bool complete);
  ExitTicket(ExitTicket&&) noexcept = default;
  ExitTicket& operator=(ExitTicket&&) = delete;
  ~ExitTicket() { Continue(); }

  void Continue();

  SpaceId space() const { return space_; }  // of the program, as given to Add
  pid_t pid() const { return pid_; }        // the process: the program's first one, or a forked child of it
  pid_t tid() const { return tid_; }
  // What the kernel will write when the thread ends: thread descriptor (its tid word) and robust mutexes that it holds.
  // They must be resident from before Continue until the thread is gone (/proc/PID/task/TID; the kernel needs
  // microseconds). At most kMaxExitRanges, possibly none.
  const std::vector<AddressRange>& ranges() const { return ranges_; }

 private:
  std::shared_ptr<Listener> listener_;  // null: continued or moved from
  std::uint64_t id_;
  SpaceId space_;
  pid_t pid_;
  pid_t tid_;
  std::vector<AddressRange> ranges_;
  bool complete_;
};
constexpr std::size_t kMaxExitRanges = 64;

// Called on the guard's thread for each exiting thread, now and then twice. Keep the ticket until the pages are there, or
// drop it at once for a process whose pages are all local.
using ThreadExitHook = absl::AnyInvocable<void(ExitTicket ticket)>;

class Guard {
 public:
  static absl::StatusOr<std::unique_ptr<Guard>> Start(ThreadExitHook hook);
  ~Guard();  // threads that wait then get ENOSYS from exit: end the programs first

  // From now on exits of the program are answered. The listener is kept until its last process is gone, which may be
  // long after the program's first one: a daemonised child runs under the same filter.
  absl::Status Add(SpaceId space, UniqueFd listener);

  void AddStats(StatList* stats) const;

 private:
  struct Again;  // a thread to look at once more
  struct Inbox;  // what other threads leave for the guard's

  explicit Guard(ThreadExitHook hook);
  void Run();
  void TakeNew();
  void Receive(const std::shared_ptr<ExitTicket::Listener>& listener);
  void Look(const std::shared_ptr<ExitTicket::Listener>& listener, std::uint64_t id, pid_t tid,
            std::size_t ranges_before);
  friend class ExitTicket;

  ThreadExitHook hook_;
  UniqueFd epoll_fd_;
  std::shared_ptr<Inbox> inbox_;  // tickets may outlive the guard
  std::vector<std::shared_ptr<ExitTicket::Listener>> listeners_;  // only the guard's thread
  Counter listener_count_;
  Counter thread_exits_;
  Counter gone_;         // the thread was killed while it waited
  Counter looked_again_;
  Counter list_unread_;  // a robust list points where nothing is: what it links to is not in ranges()
  std::thread thread_;
};

}  // namespace ashlar::pnode
