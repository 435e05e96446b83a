// The records that hold who called what, shared word for word by the BPF programs (C), the supervisor and any other
// collector (C++). They live in mmapped BPF maps: the supervisor reads them by plain loads.
//
// One slot (strace_info) is one thread, one process_info is the head of the chain of its process's slots.
//
// Writers: a live slot is written by its own thread (from BPF), but for the fields marked PAGING. A dead slot belongs to the
// supervisor. process_info: BPF by atomic adds at rare events. No field has two writers, so the hot path has no atomics.
// Times are CLOCK_MONOTONIC nanoseconds. All of it is trusted when it comes from our BPF programs; whoever reads a table that
// someone else filled walks it with bounds anyway (chain_walk.h).
#pragma once

#include <linux/types.h>

#ifdef __cplusplus
namespace ashlar::pnode {
#define ASHLAR_LAYOUT(condition) static_assert(condition)
#else
#define ASHLAR_LAYOUT(condition) _Static_assert(condition, "")
#endif

enum {
  kEntries = 32,         // distinct calls of one thread; further ones go to the overflow table
  kNumbers = 512,        // system call numbers
  kForeignNumber = 511,  // stands for numbers from 511 on and for calls of 32-bit code
  kBuckets = 32,
  kOverflowEntry = kEntries + 1,  // strace_info.current of a call that has no entry
  kTidHints = 65536,     // tid_hints: slot + 1 of the thread that last had this tid % kTidHints
};
#define ASHLAR_NO_SLOT 0xffffffffu

enum slot_state { kSlotFree = 0, kSlotLive = 1, kSlotDead = 2 };
enum process_state { kProcessFree = 0, kProcessLive = 1, kProcessDead = 2 };

enum slot_flag {
  kSlotHelper = 1,        // a thread Ashlar put into the program: not in the program's totals
  kSlotAttachedLate = 2,  // it ran before it was traced
};
enum process_flag {
  kProcessAttachedLate = 1,
  kProcessOverflow = 2,  // the overflow table has calls of this process
};

struct syscall_entry {
  __u32 nr;
  __u32 restarted;       // returned -512…-516: counted in calls, not in errors
  __u64 calls;           // those that returned
  __u64 errors;          // returned -4095…-1, restarted ones excluded
  __u64 total_ns;
  __u64 max_ns;
  __u64 min_ns;          // 0 = no call yet
  __u64 miss_ns;         // PAGING: the call waited that long for remote pages
  __u64 miss_count;      // PAGING
  __u64 histogram[kBuckets];  // [0] < 128 ns; [k] 2^(k+6)…2^(k+7)-1 ns; [31] from 2^37 ns (137 s)
};

struct strace_info {
  __u32 tid;             // changes when a thread that is not the leader calls exec
  __u32 tgid;
  __u32 next;            // slot + 1 of the next older thread of the process; 0 = end of the chain
  __u32 state;           // slot_state; written last when a thread ends
  __u64 start_ns;
  __u64 end_ns;
  __u64 enter_ns;        // of the call in progress; 0 = none
  __u32 current;         // entry index + 1 of the call in progress, kOverflowEntry, or 0
  __u32 nr;              // its number
  __u32 entry_count;
  __u32 process;         // index of its process_info
  __u64 generation;      // grows each time the slot is handed out
  __u64 faults_at_unmap; // min_flt + maj_flt when the last munmap returned
  __u64 user_miss_ns;    // PAGING: misses outside of any call
  __u64 user_miss_count; // PAGING
  __u32 flags;           // slot_flag
  __u32 unmatched_exits; // exits of calls that began before the thread was traced
  char comm[16];
  __u64 reserved[2];
  __u8 index[kNumbers];  // [nr] entry index + 1; 0 = not called yet
  struct syscall_entry entries[kEntries];
};

struct process_info {
  __u32 tgid;
  __u32 parent_tgid;
  __u32 head;            // slot + 1 of the youngest thread
  __u32 state;           // process_state
  __u64 start_ns;
  __u64 end_ns;
  __u32 thread_count;    // ever, of those that are traced
  __u32 exit_count;
  __u32 exec_count;
  __u32 exit_code;       // of the last thread, as wait gives it
  __u64 trace;           // the program it belongs to; children have their parent's
  __u32 parent_process;  // index
  __u32 overflow_threads;  // threads without a slot; their calls are in the overflow table
  __u64 munmap_count;
  __u64 fault_total;     // faults between the munmaps counted, all threads
  __u32 flags;           // process_flag
  __u32 generation;      // grows each time the index is handed out; never 0 once it was
  char comm[16];
  __u64 reserved[3];
  __u64 fault_histogram[kBuckets];  // [k] 2^(k-1)…2^k-1 faults between two munmaps of one thread; [0] none
};

// What the BPF programs and the supervisor say to each other, one element.
struct tracer_state {
  __u64 slots_used;      // slots below were handed out at least once
  __u64 processes_used;  // likewise; index 0 is "others"
  __u32 free_slots_head, free_slots_tail;          // ring indexes: BPF takes at the head, the supervisor adds at the tail
  __u32 free_processes_head, free_processes_tail;
  __u32 attach_tgid;     // whose threads the task iterator adds …
  __u32 attach_process;  // … to this process
  __u64 attach_added;    // threads it added, ever
  __u64 detach_trace;    // whose threads the other task iterator forgets
  __u64 detached;        // threads it forgot, ever
  __u64 lost;            // threads or calls that could be recorded nowhere
  __u64 overflow_threads;
  __u64 push_retries;
};

// The size of the tables, set before the programs are loaded. Counts are powers of two.
struct tracer_options {
  __u32 slot_count;
  __u32 process_count;
};

struct overflow_key {
  __u32 process;
  __u32 nr;
};

ASHLAR_LAYOUT(sizeof(struct syscall_entry) == 320);
ASHLAR_LAYOUT(__builtin_offsetof(struct syscall_entry, histogram) == 64);
ASHLAR_LAYOUT(sizeof(struct strace_info) == 640 + kEntries * 320);
ASHLAR_LAYOUT(__builtin_offsetof(struct strace_info, start_ns) == 16);
ASHLAR_LAYOUT(__builtin_offsetof(struct strace_info, current) == 40);
ASHLAR_LAYOUT(__builtin_offsetof(struct strace_info, generation) == 56);
ASHLAR_LAYOUT(__builtin_offsetof(struct strace_info, comm) == 96);
ASHLAR_LAYOUT(__builtin_offsetof(struct strace_info, index) == 128);
ASHLAR_LAYOUT(__builtin_offsetof(struct strace_info, entries) == 640);
ASHLAR_LAYOUT(sizeof(struct process_info) == 384);
ASHLAR_LAYOUT(__builtin_offsetof(struct process_info, start_ns) == 16);
ASHLAR_LAYOUT(__builtin_offsetof(struct process_info, trace) == 48);
ASHLAR_LAYOUT(__builtin_offsetof(struct process_info, comm) == 88);
ASHLAR_LAYOUT(__builtin_offsetof(struct process_info, fault_histogram) == 128);
ASHLAR_LAYOUT(sizeof(struct tracer_state) == 88);
ASHLAR_LAYOUT(sizeof(struct overflow_key) == 8);

#undef ASHLAR_LAYOUT
#ifdef __cplusplus
}  // namespace ashlar::pnode
#endif
