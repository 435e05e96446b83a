// What a pnode's supervisor says about the system calls of a program, as plain values. proto/ashlar/v1/supervisor.proto says
// what each field counts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/base/ids.h"
#include "common/telemetry/log2_histogram.h"

namespace ashlar::control {

struct SyscallStats {
  std::uint32_t number = 0;
  std::string name;
  std::uint64_t calls = 0;      // that returned
  std::uint64_t errors = 0;
  std::uint64_t restarted = 0;  // among calls, not among errors
  std::uint64_t unreturned = 0;
  std::uint64_t total_ns = 0;
  std::uint64_t min_ns = 0;     // 0 = no call returned
  std::uint64_t max_ns = 0;
  std::uint64_t miss_ns = 0;
  std::uint64_t miss_count = 0;
  Log2Histogram histogram{};
};

struct ThreadStats {
  int pid = 0;
  int tid = 0;
  std::string name;
  bool ended = false;
  std::uint64_t start_ns = 0;  // since the trace began
  std::uint64_t life_ns = 0;   // so far, or until it ended
  std::vector<SyscallStats> syscalls;  // by number
  std::uint64_t user_miss_ns = 0;
  std::uint64_t user_miss_count = 0;
  std::string in_call;         // the call in progress; empty = none
  std::uint64_t in_call_ns = 0;
};

// Everything a program and its children called, ended threads included.
struct SyscallReport {
  SpaceId program;
  std::string name;
  int pid = 0;
  bool attached_late = false;  // it ran before it was traced: what it called until then is not in here
  bool final = false;          // its last process has ended
  bool incomplete = false;     // a process ended without our seeing it; its last calls may be missing
  std::uint64_t elapsed_ns = 0;
  std::uint32_t live_threads = 0;
  std::uint64_t ended_threads = 0;
  std::uint32_t live_processes = 0;
  std::uint64_t ended_processes = 0;
  std::uint64_t overflow_threads = 0;  // in the totals, but without a row of their own
  std::uint64_t lost = 0;              // threads or calls that are nowhere, of all programs of this pnode
  std::uint64_t others_calls = 0;      // calls of processes there was no room for, of all programs of this pnode
  std::uint64_t user_miss_ns = 0;      // waited for remote memory outside of any call
  std::uint64_t user_miss_count = 0;
  std::vector<SyscallStats> total;     // by number
};

struct ThreadReport {
  std::vector<ThreadStats> threads;        // oldest first
  std::uint64_t ended_without_a_row = 0;   // ended threads that were not kept
};

}  // namespace ashlar::control
