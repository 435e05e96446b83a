// Which processes descend from one: `ashlar run` is the subreaper of its program, so while it lives all of the program's
// processes are found below it, daemonised ones too.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

namespace ashlar::pnode {

struct ProcessInfo {
  pid_t pid = 0;
  pid_t parent = 0;
  std::uint64_t start_ticks = 0;  // since boot; with the pid it names one process for ever
  std::string name;               // comm
  bool executed = false;          // it has called exec since it was forked: its memory is new
};

// All live descendants of `root`, parents before children; not `root` itself. A snapshot: the tree may change meanwhile.
std::vector<ProcessInfo> Descendants(pid_t root);

// The process that thread `tid` belongs to; 0 if it is gone.
pid_t ProcessOfThread(pid_t tid);

// SIGKILLs `process` if it is still the same one.
void KillProcess(const ProcessInfo& process);

// Fields 1–4, 9 and 22 of a /proc/PID/stat line; false if it is not one. The name may hold spaces and parentheses.
bool ParseProcStat(const std::string& line, ProcessInfo* process);

}  // namespace ashlar::pnode
