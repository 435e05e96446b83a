#include "daemons/pnode/injection/guard.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/check.h"
#include "common/base/status.h"
#include "common/telemetry/log.h"
#include "daemons/pnode/injection/exit_ranges.h"
#include "daemons/pnode/injection/process_tree.h"

namespace ashlar::pnode {

struct ExitTicket::Listener {
  SpaceId space;
  UniqueFd fd;
  std::shared_ptr<Guard::Inbox> inbox;
};

struct Guard::Again {
  std::shared_ptr<ExitTicket::Listener> listener;
  std::uint64_t id;
  pid_t tid;
  std::size_t ranges_before;
};

struct Guard::Inbox {
  UniqueFd wake_fd;
  absl::Mutex mutex;  // leaf
  std::vector<std::shared_ptr<ExitTicket::Listener>> added ABSL_GUARDED_BY(mutex);
  std::vector<Again> again ABSL_GUARDED_BY(mutex);
  bool stop ABSL_GUARDED_BY(mutex) = false;

  // False once the guard has stopped.
  bool LookAgain(Again thread) {
    absl::MutexLock lock(&mutex);
    if (stop) return false;
    again.push_back(std::move(thread));
    ::eventfd_write(wake_fd.get(), 1);
    return true;
  }
};

namespace {

// A word of the program through /proc/PID/mem, which answers EIO for a missing page: the guard must never wait for a
// program's memory, since a program could keep it waiting with a userfaultfd of its own.
bool ReadProgramWord(int mem, std::uint64_t address, std::uint64_t* word) {
  return ::pread(mem, word, sizeof(*word), static_cast<off_t>(address)) == sizeof(*word);
}

bool StillWaits(int listener, std::uint64_t id) { return ::ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0; }

}  // namespace

ExitTicket::ExitTicket(std::shared_ptr<Listener> listener, std::uint64_t id, SpaceId space, pid_t pid, pid_t tid,
                       std::vector<AddressRange> ranges, bool complete)
    : listener_(std::move(listener)),
      id_(id),
      space_(space),
      pid_(pid),
      tid_(tid),
      ranges_(std::move(ranges)),
      complete_(complete) {}

void ExitTicket::Continue() {
  const std::shared_ptr<Listener> listener = std::exchange(listener_, nullptr);
  if (listener == nullptr || !StillWaits(listener->fd.get(), id_)) return;
  if (!complete_ && listener->inbox->LookAgain({listener, id_, tid_, ranges_.size()})) return;
  seccomp_notif_resp response{.id = id_, .val = 0, .error = 0, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};
  if (::ioctl(listener->fd.get(), SECCOMP_IOCTL_NOTIF_SEND, &response) != 0 && errno != ENOENT) {
    log::Error("guard: a thread that ends could not be let go tid={} error={}", tid_, std::strerror(errno));
  }
}

Guard::Guard(ThreadExitHook hook) : hook_(std::move(hook)), inbox_(std::make_shared<Inbox>()) {}

absl::StatusOr<std::unique_ptr<Guard>> Guard::Start(ThreadExitHook hook) {
  auto guard = std::unique_ptr<Guard>(new Guard(std::move(hook)));
  guard->epoll_fd_ = UniqueFd(::epoll_create1(EPOLL_CLOEXEC));
  guard->inbox_->wake_fd = UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (::epoll_ctl(guard->epoll_fd_.get(), EPOLL_CTL_ADD, guard->inbox_->wake_fd.get(), &event) != 0) {
    return ErrnoStatus(errno, "guard: epoll");
  }
  guard->thread_ = std::thread([raw = guard.get()] { raw->Run(); });
  return guard;
}

Guard::~Guard() {
  if (!thread_.joinable()) return;
  {
    absl::MutexLock lock(&inbox_->mutex);
    inbox_->stop = true;
  }
  ::eventfd_write(inbox_->wake_fd.get(), 1);
  thread_.join();
  absl::MutexLock lock(&inbox_->mutex);
  inbox_->again.clear();  // they refer back to the inbox
}

absl::Status Guard::Add(SpaceId space, UniqueFd listener) {
  if (::fcntl(listener.get(), F_GETFL) < 0) return ErrnoStatus(errno, "guard: seccomp listener");
  auto added = std::make_shared<ExitTicket::Listener>();
  added->space = space;
  added->fd = std::move(listener);
  added->inbox = inbox_;
  absl::MutexLock lock(&inbox_->mutex);
  inbox_->added.push_back(std::move(added));
  ::eventfd_write(inbox_->wake_fd.get(), 1);
  return absl::OkStatus();
}

void Guard::TakeNew() {
  eventfd_t ignored;
  ::eventfd_read(inbox_->wake_fd.get(), &ignored);
  std::vector<std::shared_ptr<ExitTicket::Listener>> added;
  std::vector<Again> again;
  {
    absl::MutexLock lock(&inbox_->mutex);
    added.swap(inbox_->added);
    again.swap(inbox_->again);
  }
  for (auto& listener : added) {
    epoll_event event{.events = EPOLLIN, .data = {.ptr = listener.get()}};
    if (::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_ADD, listener->fd.get(), &event) != 0) {
      log::Error("guard: can't watch the ends of threads space={} error={}", listener->space.value(),
                 std::strerror(errno));
      continue;
    }
    listeners_.push_back(std::move(listener));
  }
  listener_count_.Set(listeners_.size());
  for (const Again& thread : again) {
    looked_again_.Add();
    Look(thread.listener, thread.id, thread.tid, thread.ranges_before);
  }
}

void Guard::Run() {
  ::pthread_setname_np(::pthread_self(), "guard");
  for (;;) {
    epoll_event events[16];
    const int count = ::epoll_wait(epoll_fd_.get(), events, static_cast<int>(std::size(events)), -1);
    ASHLAR_CHECK(count >= 0 || errno == EINTR, "epoll_wait: {}", std::strerror(errno));
    for (int i = 0; i < count; ++i) {
      if (events[i].data.ptr == nullptr) continue;  // the inbox, below
      const auto at = std::find_if(listeners_.begin(), listeners_.end(),
                                   [&](const auto& each) { return each.get() == events[i].data.ptr; });
      ASHLAR_CHECK(at != listeners_.end(), "epoll names a listener of ours");
      if ((events[i].events & EPOLLIN) != 0) {
        Receive(*at);
      } else {  // EPOLLHUP: the last process under the filter is gone
        ::epoll_ctl(epoll_fd_.get(), EPOLL_CTL_DEL, (*at)->fd.get(), nullptr);
        listeners_.erase(at);
        listener_count_.Set(listeners_.size());
      }
    }
    TakeNew();
    absl::MutexLock lock(&inbox_->mutex);
    if (inbox_->stop) return;
  }
}

void Guard::Receive(const std::shared_ptr<ExitTicket::Listener>& listener) {
  seccomp_notif notification{};  // must be zero
  if (::ioctl(listener->fd.get(), SECCOMP_IOCTL_NOTIF_RECV, &notification) != 0) {
    gone_.Add();  // ENOENT: killed before we looked
    return;
  }
  thread_exits_.Add();
  Look(listener, notification.id, static_cast<pid_t>(notification.pid), 0);
}

void Guard::Look(const std::shared_ptr<ExitTicket::Listener>& listener, std::uint64_t id, pid_t tid,
                 std::size_t ranges_before) {
  const pid_t pid = tid == 0 ? 0 : ProcessOfThread(tid);  // 0: in a pid namespace that we can't see
  std::vector<AddressRange> ranges;
  bool complete = true;
  if (pid != 0) {
    const UniqueFd mem(::open(absl::StrCat("/proc/", tid, "/mem").c_str(), O_RDONLY | O_CLOEXEC));
    ranges = ExitRanges(FindRobustListHead(tid), [&](std::uint64_t at, std::uint64_t* word) {
      complete = ReadProgramWord(mem.get(), at, word);
      return complete;
    });
  }
  if (!complete && ranges.size() == ranges_before) {
    list_unread_.Add();  // it was made resident and can't be read: nothing is there
    complete = true;
  }
  ExitTicket ticket(listener, id, listener->space, pid, tid, std::move(ranges), complete);
  if (!StillWaits(listener->fd.get(), id)) {
    gone_.Add();  // the tid may be another thread's by now; the ticket does nothing
    return;
  }
  if (pid != 0) hook_(std::move(ticket));
}

void Guard::AddStats(StatList* stats) const {
  stats->Add("guard_listeners", listener_count_);
  stats->Add("thread_exits_total", thread_exits_);
  stats->Add("thread_exits_killed_total", gone_);
  stats->Add("thread_exits_looked_again_total", looked_again_);
  stats->Add("thread_exits_list_unread_total", list_unread_);
}

}  // namespace ashlar::pnode
