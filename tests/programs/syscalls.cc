// Makes a known number of system calls in one of several ways; for comparing who counts them.
//
// usage: syscalls MODE [N]
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <thread>
#include <vector>

namespace {

char* self;

void Repeat(long number, int times) {
  for (int i = 0; i < times; ++i) syscall(number);
}

void SleepMs(long ms) {
  const timespec time{.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1'000'000};
  syscall(SYS_nanosleep, &time, nullptr);
}

void RunOn(unsigned cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  sched_setaffinity(0, sizeof(set), &set);
}

template <typename Body>
std::vector<std::thread> Threads(int count, Body body) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back(body);
  return threads;
}

template <typename Body>
void InThreads(int count, Body body) {
  for (std::thread& thread : Threads(count, body)) thread.join();
}

template <typename Body>
void InChild(bool shares_memory, Body body) {
  const pid_t pid = shares_memory ? vfork() : fork();
  if (pid == 0) body();
  waitpid(pid, nullptr, 0);
}

void SleepForLong() { SleepMs(100'000); }

void Single() {
  Repeat(SYS_getpid, 1000);
  for (int i = 0; i < 50; ++i) open("/nonexistent/file", O_RDONLY);
  for (int i = 0; i < 5; ++i) SleepMs(2);
}

void Migrating() {
  for (unsigned i = 0; i < 10; ++i) {
    RunOn(i % 2);
    Repeat(SYS_getppid, 50);
  }
}

[[noreturn]] void LeaderLeaves(int n) {
  for (std::thread& thread : Threads(n, [] { SleepMs(100); Repeat(SYS_getppid, 700); })) thread.detach();
  Repeat(SYS_getpid, 10);
  pthread_exit(nullptr);
}

// More distinct numbers than a thread has entries for.
void Wide() {
  for (int round = 0; round < 3; ++round) {
    for (const long number : {SYS_getpid, SYS_getppid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid, SYS_gettid, SYS_sched_yield, SYS_getpgrp,
                              SYS_sync_file_range, SYS_dup, SYS_pipe, SYS_socket, SYS_connect, SYS_accept, SYS_bind, SYS_listen, SYS_shutdown,
                              SYS_getsockname, SYS_getpeername, SYS_flock, SYS_fsync, SYS_fdatasync, SYS_ftruncate, SYS_getcwd, SYS_fchdir,
                              SYS_fchmod, SYS_fchown, SYS_umask, SYS_getrlimit, SYS_getrusage, SYS_sysinfo, SYS_times, SYS_getpgid, SYS_getsid,
                              SYS_sched_getscheduler, SYS_sched_getparam, SYS_lseek, SYS_fstatfs, SYS_statfs}) {
      syscall(number, -1, 0, 0);
    }
  }
}

void Interrupted() {
  struct sigaction action {};
  action.sa_handler = [](int) {};
  sigaction(SIGALRM, &action, nullptr);
  ualarm(50'000, 0);
  SleepMs(2000);  // restarted with what is left, or EINTR
  Repeat(SYS_getpid, 5);
}

}  // namespace

int main(int count, char** words) {
  if (count < 2) return 64;
  self = words[0];
  const char* mode = words[1];
  const int n = count > 2 ? atoi(words[2]) : 4;
  const auto is = [&](const char* name) { return strcmp(mode, name) == 0; };
  if (is("single")) {
    Single();
  } else if (is("leaf")) {
    Repeat(SYS_getpid, 111);
  } else if (is("getpid")) {
    Repeat(SYS_getpid, n);
  } else if (is("migrate")) {
    InThreads(n, Migrating);
  } else if (is("kill")) {
    const auto threads = Threads(n, SleepForLong);
    SleepMs(100);
    Repeat(SYS_getpid, 10);
    syscall(SYS_kill, getpid(), SIGKILL);
  } else if (is("exit_group")) {
    const auto threads = Threads(n, SleepForLong);
    SleepMs(100);
    Repeat(SYS_getpid, 10);
    _exit(3);
  } else if (is("leader_leaves")) {
    LeaderLeaves(n);
  } else if (is("thread_exec")) {
    const auto threads = Threads(n, SleepForLong);
    std::thread([] {
      Repeat(SYS_getppid, 33);
      SleepMs(50);
      execl(self, self, "leaf", nullptr);
    }).join();
  } else if (is("vfork")) {
    for (int i = 0; i < n; ++i) {
      InChild(true, [] {
        execl(self, self, "leaf", nullptr);
        _exit(1);
      });
    }
  } else if (is("fork")) {
    for (int i = 0; i < n; ++i) {
      InChild(false, [] {
        Repeat(SYS_getppid, 7);
        _exit(0);
      });
    }
  } else if (is("reuse")) {  // children that all get one pid
    char wanted[16] = "";
    for (int i = 0; i < n; ++i) {
      if (wanted[0] != 0) {
        const int last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
        if (write(last, wanted, strlen(wanted)) < 0) perror("ns_last_pid");
        close(last);
      }
      const pid_t pid = fork();
      if (pid == 0) {
        Repeat(SYS_getppid, 7);
        _exit(0);
      }
      if (wanted[0] == 0) snprintf(wanted, sizeof(wanted), "%d", pid - 1);
      waitpid(pid, nullptr, 0);
    }
  } else if (is("many")) {  // short threads, one after another
    for (int i = 0; i < n; ++i) InThreads(1, [] { Repeat(SYS_getppid, 3); });
  } else if (is("crowd")) {  // short threads, 64 at a time
    for (int i = 0; i < n; i += 64) InThreads(64, [] { Repeat(SYS_getppid, 3); });
  } else if (is("race")) {  // processes whose threads end together
    for (int i = 0; i < n; ++i) {
      InChild(false, [] {
        const auto threads = Threads(4, [] { Repeat(SYS_getppid, 5); });
        syscall(SYS_exit_group, 0);
      });
    }
  } else if (is("wide")) {
    Wide();
  } else if (is("interrupted")) {
    Interrupted();
  } else {
    return 64;
  }
  return 0;
}
