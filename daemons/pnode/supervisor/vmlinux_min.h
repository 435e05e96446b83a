// The kernel types the BPF programs touch, with only the fields they read. libbpf finds the real offsets in the running
// kernel's BTF when it loads a program (CO-RE), so building needs no kernel, and 3 MB of generated header stay out.
#pragma once

#include <linux/bpf.h>
#include <linux/types.h>

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
  int counter;
} atomic_t;

struct signal_struct {
  atomic_t live;  // threads that have not begun to exit
};

struct thread_info {
  __u32 status;
};

struct task_struct {
  struct thread_info thread_info;
  unsigned int flags;
  int pid;   // what user space calls tid
  int tgid;  // what user space calls pid
  int exit_code;
  unsigned long min_flt;
  unsigned long maj_flt;
  struct signal_struct* signal;
  struct task_struct* real_parent;
  char comm[16];
};

struct bpf_iter_meta {
  __u64 session_id;
};

struct bpf_iter__task {
  struct bpf_iter_meta* meta;
  struct task_struct* task;
};

#pragma clang attribute pop

#define TS_COMPAT 0x0002        // thread_info.status: a 32-bit call is under way
#define PF_EXITING 0x00000004   // task_struct.flags
#define CLONE_THREAD 0x00010000
