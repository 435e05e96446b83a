// The seccomp filter that a program and its descendants run under: the end of a thread is announced, all else is allowed.
//
// Why: the kernel serves no userfault of an exiting thread. If the page of its thread descriptor is away at that moment,
// clearing the tid is silently skipped and pthread_join waits for ever (10 §6). So `exit` (the end of one thread, not
// exit_group) waits until the listener's holder (guard.h) says that the page is there.
#pragma once

#include <linux/filter.h>

#include <span>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"

namespace ashlar::pnode {

// The filter's instructions, for every call convention an x86-64 kernel has (64-bit, x32, 32-bit).
std::span<const sock_filter> ThreadExitFilter();

// Installs it in the calling thread, for good, and returns its listener. Needs no_new_privs (or CAP_SYS_ADMIN). Only
// async-signal-safe work, so a freshly forked child may call it. Returns -errno on failure: EBUSY when the caller already
// runs under another listener (one per tree), as in some containers.
int InstallThreadExitFilter();

}  // namespace ashlar::pnode
