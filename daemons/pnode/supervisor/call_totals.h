// Sums of system calls by number: what threads that ended are folded into, and what a report is made of.
//
// Threads: values.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "common/control/syscall_types.h"
#include "daemons/pnode/supervisor/strace_info.h"

namespace ashlar::pnode {

class CallTotals {
 public:
  // `entry` may be written by its thread meanwhile: each field is read once.
  void Add(const syscall_entry& entry);
  void Add(const control::SyscallStats& stats);
  void Add(const CallTotals& other);
  // A call that was entered and never returned: exit, or one in which the thread was killed.
  void AddUnreturned(std::uint32_t number);

  std::uint64_t calls() const;
  // With names, by number. Calls that were only entered are left out unless they will never return.
  std::vector<control::SyscallStats> List() const;

 private:
  absl::btree_map<std::uint32_t, control::SyscallStats> by_number_;  // names empty
};

}  // namespace ashlar::pnode
