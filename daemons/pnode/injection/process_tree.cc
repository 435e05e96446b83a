#include "daemons/pnode/injection/process_tree.h"

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"

namespace ashlar::pnode {
namespace {

constexpr unsigned long kForkedWithoutExec = 0x40;  // PF_FORKNOEXEC, include/linux/sched.h
constexpr std::size_t kMaxProcesses = 65536;  // a tree that grows while it is walked ends somewhere

std::optional<ProcessInfo> ReadProcess(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  ProcessInfo process;
  if (!std::getline(file, line) || !ParseProcStat(line, &process)) return std::nullopt;
  return process;
}

// Children hang on the thread that made them.
std::vector<pid_t> ChildrenOf(pid_t pid) {
  std::vector<pid_t> children;
  std::error_code error;
  for (std::filesystem::directory_iterator task(absl::StrCat("/proc/", pid, "/task"), error), end;
       !error && task != end; task.increment(error)) {
    std::ifstream file(task->path() / "children");
    for (pid_t child; file >> child;) children.push_back(child);
  }
  return children;
}

}  // namespace

bool ParseProcStat(const std::string& line, ProcessInfo* process) {
  const std::size_t open = line.find('(');
  const std::size_t close = line.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return false;
  std::istringstream head(line.substr(0, open));
  std::istringstream tail(line.substr(close + 1));
  std::string state;
  if (!(head >> process->pid) || !(tail >> state >> process->parent)) return false;
  process->name = line.substr(open + 1, close - open - 1);
  std::string skipped;
  unsigned long flags = 0;
  for (int field = 5; field < 22; ++field) {
    if (!(field == 9 ? tail >> flags : tail >> skipped)) return false;
  }
  process->executed = (flags & kForkedWithoutExec) == 0;
  return static_cast<bool>(tail >> process->start_ticks);
}

std::vector<ProcessInfo> Descendants(pid_t root) {
  std::vector<ProcessInfo> found;
  std::vector<pid_t> open = {root};
  while (!open.empty() && found.size() < kMaxProcesses) {
    const pid_t pid = open.back();
    open.pop_back();
    for (const pid_t child : ChildrenOf(pid)) {
      if (std::optional<ProcessInfo> process = ReadProcess(child); process.has_value()) {
        found.push_back(*std::move(process));
        open.push_back(child);
      }
    }
  }
  return found;
}

pid_t ProcessOfThread(pid_t tid) {
  std::ifstream file(absl::StrCat("/proc/", tid, "/status"));
  for (std::string line; std::getline(file, line);) {
    pid_t pid = 0;
    if (line.rfind("Tgid:", 0) == 0 && std::istringstream(line.substr(5)) >> pid) return pid;
  }
  return 0;
}

void KillProcess(const ProcessInfo& process) {
  // The descriptor pins the pid; what was read before it could be an older process, what is read after it is not.
  const UniqueFd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, process.pid, 0)));
  if (!pidfd.valid()) return;
  const std::optional<ProcessInfo> now = ReadProcess(process.pid);
  if (!now.has_value() || now->start_ticks != process.start_ticks) return;
  ::syscall(SYS_pidfd_send_signal, pidfd.get(), SIGKILL, nullptr, 0);
}

}  // namespace ashlar::pnode
