// Collects every system call of the traced threads: exact counts, errors and times, no sampling, no event that could get lost.
//
// Filter first: a thread without task storage is none of ours. What a thread writes is its own slot (strace_info.h), so the
// hot path takes no lock and shares no line. State hangs on the task, never on a tid: a tid changes in a threaded exec and
// is used again after a process ended. Design: "The chain" in README.md.
#include "daemons/pnode/supervisor/vmlinux_min.h"

#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "daemons/pnode/supervisor/strace_info.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

#define NR_MUNMAP 11
#define MAX_TRIES 8

const volatile struct tracer_options options SEC(".rodata.options") = {.slot_count = 2048, .process_count = 1024};

// Freed with the task.
struct task_record {
  __u32 slot;      // ASHLAR_NO_SLOT: calls go to the overflow table
  __u32 process;
  __u64 enter_ns;  // only without a slot
  __u32 nr;
  __u32 reserved;
};

#define ARRAY_MAP(name, count, type_name, map_flag) \
  struct {                                          \
    __uint(type, BPF_MAP_TYPE_ARRAY);               \
    __uint(max_entries, count);                     \
    __uint(map_flags, map_flag);                    \
    __type(key, __u32);                             \
    __type(value, type_name);                       \
  } name SEC(".maps")

// The loader sets the real sizes. Free rings hold u64: array elements are padded to 8 bytes, and an mmapped u32 ring would
// hand out wrong slots.
ARRAY_MAP(slots, 2048, struct strace_info, BPF_F_MMAPABLE);
ARRAY_MAP(processes, 1024, struct process_info, BPF_F_MMAPABLE);
ARRAY_MAP(free_slots, 2048, __u64, BPF_F_MMAPABLE);
ARRAY_MAP(free_processes, 1024, __u64, BPF_F_MMAPABLE);
ARRAY_MAP(tid_hints, kTidHints, __u64, BPF_F_MMAPABLE);
ARRAY_MAP(state, 1, struct tracer_state, BPF_F_MMAPABLE);

struct {
  __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, int);
  __type(value, struct task_record);
} tasks SEC(".maps");

struct {
  __uint(type, BPF_MAP_TYPE_HASH);
  __uint(max_entries, 65536);
  __uint(map_flags, BPF_F_NO_PREALLOC);
  __type(key, struct overflow_key);
  __type(value, struct syscall_entry);
} overflow SEC(".maps");

// A wake-up for the supervisor, never data: it looks at the tables itself.
struct {
  __uint(type, BPF_MAP_TYPE_RINGBUF);
  __uint(max_entries, 4096);
} ended SEC(".maps");

static const struct syscall_entry kEmptyEntry;

static __always_inline struct tracer_state* State(void) {
  __u32 zero = 0;
  return bpf_map_lookup_elem(&state, &zero);
}

// The bucket of strace_info.h: floor(log2(ns)) - 6, cut at both ends.
static __always_inline __u32 BucketOf(__u64 ns) {
  __u64 wide = ns >> 6;
  if (wide >> 31) return 31;
  __u32 x = wide;
  __u32 bucket = 0;
  if (x >> 16) { x >>= 16; bucket += 16; }
  if (x >> 8) { x >>= 8; bucket += 8; }
  if (x >> 4) { x >>= 4; bucket += 4; }
  if (x >> 2) { x >>= 2; bucket += 2; }
  if (x >> 1) bucket++;
  return bucket & 31;
}

// An index from a ring that the supervisor fills, else one never used; ASHLAR_NO_SLOT: none.
static __always_inline __u32 TakeIndex(void* ring, __u32 mask, volatile __u32* head, volatile __u32* tail, volatile __u64* used, __u32 count) {
#pragma unroll
  for (int i = 0; i < MAX_TRIES; i++) {
    __u32 at = *head;
    if (at == *tail) break;
    __u32 position = at & mask;
    __u64* element = bpf_map_lookup_elem(ring, &position);
    if (!element) break;
    __u32 index = *(volatile __u64*)element;
    if (__sync_val_compare_and_swap(head, at, at + 1) == at) return index;
  }
  if (*used >= count) return ASHLAR_NO_SLOT;
  __u64 index = __sync_fetch_and_add(used, 1);
  return index < count ? (__u32)index : ASHLAR_NO_SLOT;
}

static __always_inline void CopyComm(char* to, struct task_struct* task) {
  bpf_probe_read_kernel_str(to, 16, task->comm);
}

static __always_inline void CountOverflowThread(struct tracer_state* shared, struct process_info* process) {
  __sync_fetch_and_add(&process->overflow_threads, 1);
  __sync_fetch_and_add(&shared->overflow_threads, 1);
}

static __always_inline void FillSlot(struct strace_info* slot, struct task_struct* task, __u32 process_index, __u32 flags) {
  slot->tid = task->pid;
  slot->tgid = task->tgid;
  slot->process = process_index;
  slot->flags = flags;
  slot->start_ns = bpf_ktime_get_ns();
  slot->generation++;
  slot->faults_at_unmap = task->min_flt + task->maj_flt;
  CopyComm(slot->comm, task);
  *(volatile __u32*)&slot->state = kSlotLive;
}

// Where paging, which knows only tids, looks first.
static __always_inline void Hint(__u32 tid, __u32 slot) {
  __u32 at = tid % kTidHints;
  __u64* hint = bpf_map_lookup_elem(&tid_hints, &at);
  if (hint) *hint = slot + 1;
}

// Adds `task` as the youngest thread of a process. An attached thread runs meanwhile, and may even end: so slot and counter
// are complete before the task can find its record, and a slot may be dead by the time it is pushed.
static __always_inline int AddThread(struct task_struct* task, __u32 process_index, __u32 flags) {
  struct tracer_state* shared = State();
  struct process_info* process = bpf_map_lookup_elem(&processes, &process_index);
  if (!shared || !process) return 0;
  struct task_record record = {.process = process_index};
  record.slot = TakeIndex(&free_slots, options.slot_count - 1, &shared->free_slots_head, &shared->free_slots_tail, &shared->slots_used, options.slot_count);
  __u32 slot_index = record.slot;
  struct strace_info* slot = bpf_map_lookup_elem(&slots, &slot_index);
  if (slot) {
    FillSlot(slot, task, process_index, flags);
    Hint(task->pid, slot_index);
  } else {
    record.slot = ASHLAR_NO_SLOT;
    CountOverflowThread(shared, process);
  }
  __sync_fetch_and_add(&process->thread_count, 1);
  if (!bpf_task_storage_get(&tasks, task, &record, BPF_LOCAL_STORAGE_GET_F_CREATE)) {
    __sync_fetch_and_add(&process->exit_count, 1);  // as if it had ended: what it calls is lost, and said to be
    __sync_fetch_and_add(&shared->lost, 1);
    if (slot) __sync_fetch_and_add(&slot->state, kSlotDead - kSlotLive);
  }
  if (!slot) return 1;
#pragma unroll
  for (int i = 0; i < MAX_TRIES; i++) {
    __u32 head = *(volatile __u32*)&process->head;
    slot->next = head;
    if (__sync_val_compare_and_swap(&process->head, head, slot_index + 1) == head) return 1;
    __sync_fetch_and_add(&shared->push_retries, 1);
  }
  __sync_fetch_and_add(&shared->lost, 1);  // nobody will find the slot: its calls are lost, and said to be
  return 1;
}

// The index of a new process of the same trace, or 0: "others".
static __always_inline __u32 AddProcess(struct task_struct* leader, __u32 parent_index) {
  struct tracer_state* shared = State();
  struct process_info* parent = bpf_map_lookup_elem(&processes, &parent_index);
  if (!shared || !parent) return 0;
  __u32 index = TakeIndex(&free_processes, options.process_count - 1, &shared->free_processes_head, &shared->free_processes_tail,
                          &shared->processes_used, options.process_count);
  struct process_info* process = bpf_map_lookup_elem(&processes, &index);
  if (!process) return 0;
  process->tgid = leader->tgid;
  process->parent_tgid = parent->tgid;
  process->parent_process = parent_index;
  process->trace = parent->trace;
  process->start_ns = bpf_ktime_get_ns();
  CopyComm(process->comm, leader);
  process->generation++;
  *(volatile __u32*)&process->state = kProcessLive;
  return index;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(OnEnter, struct pt_regs* regs, long id) {
  struct task_struct* task = bpf_get_current_task_btf();
  struct task_record* record = bpf_task_storage_get(&tasks, task, 0, 0);
  if (!record) return 0;
  __u32 nr = id;
  if (nr >= kForeignNumber || (task->thread_info.status & TS_COMPAT)) nr = kForeignNumber;
  record->nr = nr;
  struct strace_info* slot = bpf_map_lookup_elem(&slots, &record->slot);
  if (!slot) {
    record->enter_ns = bpf_ktime_get_ns();
    return 0;
  }
  __u32 entry = slot->index[nr];
  if (!entry) {
    entry = slot->entry_count;
    if (entry < kEntries) {
      slot->entries[entry & (kEntries - 1)].nr = nr;
      slot->entry_count = entry + 1;
      slot->index[nr] = ++entry;
    } else {
      entry = kOverflowEntry;
    }
  }
  slot->nr = nr;
  slot->current = nr == kForeignNumber ? kOverflowEntry : entry;
  slot->enter_ns = bpf_ktime_get_ns();
  return 0;
}

static __always_inline int IsRestart(long result) { return result <= -512 && result >= -516; }
static __always_inline int IsError(long result) { return result < 0 && result >= -4095 && !IsRestart(result); }

static __always_inline void CountOverflow(__u32 process_index, __u32 nr, __u64 ns, long result) {
  struct overflow_key key = {process_index, nr};
  struct syscall_entry* entry = bpf_map_lookup_elem(&overflow, &key);
  if (!entry) {
    bpf_map_update_elem(&overflow, &key, &kEmptyEntry, BPF_NOEXIST);  // somebody else may be faster
    entry = bpf_map_lookup_elem(&overflow, &key);
    struct process_info* process = bpf_map_lookup_elem(&processes, &process_index);
    if (process) process->flags |= kProcessOverflow;
  }
  if (!entry) {
    struct tracer_state* shared = State();
    if (shared) __sync_fetch_and_add(&shared->lost, 1);
    return;
  }
  __sync_fetch_and_add(&entry->calls, 1);
  __sync_fetch_and_add(&entry->total_ns, ns);
  __sync_fetch_and_add(&entry->histogram[BucketOf(ns)], 1);
  if (IsError(result)) __sync_fetch_and_add(&entry->errors, 1);
  if (IsRestart(result)) __sync_fetch_and_add(&entry->restarted, 1);
  if (ns > entry->max_ns) entry->max_ns = ns;  // two threads at once may lose the smaller record
  if (!entry->min_ns || ns < entry->min_ns) entry->min_ns = ns;
}

static __always_inline __u32 FaultBucket(__u64 faults) {
  return faults ? (BucketOf(faults << 6) + 1) & 31 : 0;
}

static __always_inline void CountUnmap(struct task_struct* task, struct strace_info* slot) {
  __u32 process_index = slot->process;
  struct process_info* process = bpf_map_lookup_elem(&processes, &process_index);
  if (!process) return;
  __u64 now = task->min_flt + task->maj_flt;
  __u64 faults = now - slot->faults_at_unmap;
  slot->faults_at_unmap = now;
  __sync_fetch_and_add(&process->munmap_count, 1);
  __sync_fetch_and_add(&process->fault_total, faults);
  __sync_fetch_and_add(&process->fault_histogram[FaultBucket(faults)], 1);
}

SEC("tp_btf/sys_exit")
int BPF_PROG(OnExit, struct pt_regs* regs, long result) {
  struct task_struct* task = bpf_get_current_task_btf();
  struct task_record* record = bpf_task_storage_get(&tasks, task, 0, 0);
  if (!record) return 0;
  struct strace_info* slot = bpf_map_lookup_elem(&slots, &record->slot);
  if (!slot) {
    if (!record->enter_ns) return 0;
    __u64 waited = bpf_ktime_get_ns() - record->enter_ns;
    record->enter_ns = 0;
    CountOverflow(record->process, record->nr, waited, result);
    return 0;
  }
  __u64 enter_ns = slot->enter_ns;
  if (!enter_ns) {
    slot->unmatched_exits++;
    return 0;
  }
  __u64 ns = bpf_ktime_get_ns() - enter_ns;
  __u32 current = slot->current;
  slot->enter_ns = 0;
  slot->current = 0;
  if (record->nr == NR_MUNMAP) CountUnmap(task, slot);
  if (!current || current > kEntries) {
    CountOverflow(record->process, record->nr, ns, result);
    return 0;
  }
  struct syscall_entry* entry = &slot->entries[(current - 1) & (kEntries - 1)];
  entry->calls++;
  entry->total_ns += ns;
  if (ns > entry->max_ns) entry->max_ns = ns;
  if (!entry->min_ns || ns < entry->min_ns) entry->min_ns = ns;
  if (result < 0 && result >= -4095) {
    if (IsRestart(result)) entry->restarted++;
    else entry->errors++;
  }
  entry->histogram[BucketOf(ns)]++;
  return 0;
}

// Runs in the parent, before the child can run.
SEC("tp_btf/task_newtask")
int BPF_PROG(OnNewTask, struct task_struct* task, __u64 clone_flags) {
  struct task_record* parent = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), 0, 0);
  if (!parent) return 0;
  __u32 process = parent->process;
  if (!(clone_flags & CLONE_THREAD)) process = AddProcess(task, process);
  AddThread(task, process, 0);
  return 0;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(OnExec, struct task_struct* task, int old_tid) {
  struct task_record* record = bpf_task_storage_get(&tasks, bpf_get_current_task_btf(), 0, 0);
  if (!record) return 0;
  __u32 process_index = record->process;
  struct process_info* process = bpf_map_lookup_elem(&processes, &process_index);
  if (process && process_index) {
    __sync_fetch_and_add(&process->exec_count, 1);
    CopyComm(process->comm, task);
  }
  struct strace_info* slot = bpf_map_lookup_elem(&slots, &record->slot);
  if (slot) {
    slot->tid = task->pid;
    Hint(task->pid, record->slot);
    CopyComm(slot->comm, task);
  }
  return 0;
}

// The last-exit rule: all threads we know of have passed here AND the kernel says that none is left. `live` alone fires several
// times when threads end together; the counts alone would fire early if a thread was missed while attaching.
SEC("tp_btf/sched_process_exit")
int BPF_PROG(OnTaskExit, struct task_struct* task) {
  struct task_record* record = bpf_task_storage_get(&tasks, task, 0, 0);
  if (!record) return 0;
  __u32 process_index = record->process;
  __u32 slot_index = record->slot;
  struct process_info* process = bpf_map_lookup_elem(&processes, &process_index);
  int live = task->signal->live.counter;
  __u64 now = bpf_ktime_get_ns();
  bpf_task_storage_delete(&tasks, task);
  struct strace_info* slot = bpf_map_lookup_elem(&slots, &slot_index);
  if (slot) {
    CopyComm(slot->comm, task);
    slot->end_ns = now;
    __sync_fetch_and_add(&slot->state, kSlotDead - kSlotLive);  // a barrier, too: all before it is visible first
  }
  if (!process) return 0;
  __u32 exits = __sync_fetch_and_add(&process->exit_count, 1) + 1;
  if (process_index == 0 || live != 0 || exits != *(volatile __u32*)&process->thread_count) return 0;
  process->end_ns = now;
  process->exit_code = task->exit_code;
  __sync_fetch_and_add(&process->state, kProcessDead - kProcessLive);
  __u64* wake = bpf_ringbuf_reserve(&ended, sizeof(*wake), 0);
  if (!wake) return 0;  // the supervisor's tick finds it
  *wake = process_index;
  bpf_ringbuf_submit(wake, 0);
  return 0;
}

// Adds the threads of attach_tgid that are not there yet. The supervisor runs it until it adds none.
SEC("iter/task")
int AddExisting(struct bpf_iter__task* context) {
  struct task_struct* task = context->task;
  struct tracer_state* shared = State();
  if (!task || !shared || (__u32)task->tgid != shared->attach_tgid) return 0;
  if (task->flags & PF_EXITING) return 0;  // it has passed, or is about to pass, the exit hook
  if (bpf_task_storage_get(&tasks, task, 0, 0)) return 0;
  if (AddThread(task, shared->attach_process, kSlotAttachedLate)) __sync_fetch_and_add(&shared->attach_added, 1);
  return 0;
}

// Forgets the threads of detach_trace.
SEC("iter/task")
int RemoveTraced(struct bpf_iter__task* context) {
  struct task_struct* task = context->task;
  struct tracer_state* shared = State();
  if (!task || !shared) return 0;
  struct task_record* record = bpf_task_storage_get(&tasks, task, 0, 0);
  if (!record) return 0;
  __u32 process_index = record->process;
  struct process_info* process = bpf_map_lookup_elem(&processes, &process_index);
  if (!process || process->trace != shared->detach_trace) return 0;
  bpf_task_storage_delete(&tasks, task);
  __sync_fetch_and_add(&shared->detached, 1);
  return 0;
}
